// The tokenizer that published weights came with: what a conversion of them needs, as an
// embedding's rows mean something in one vocabulary only. Any thread.
#pragma once

#include <filesystem>
#include <string>

#include "base/result.h"

namespace tristill::convert {

// A serialized SentencePiece model with the vocabulary of path: a tokenizer.model, or a GGUF file
// whose tokenizer.ggml.model is llama. Theirs put a space before a text; ours gives every text back
// as it was, so that setting is turned off: the tokens of a text differ in its first word alone.
// Errors, param tokenizer.from_weights: not_found, corrupt; invalid_argument for other kinds of
// tokenizer. Whether the model is a sound one is Tokenizer::from_sentencepiece's to say.
Result<std::string> read_published_tokenizer(const std::filesystem::path& path);

}  // namespace tristill::convert
