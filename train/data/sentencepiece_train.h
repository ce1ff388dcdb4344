// Training a SentencePiece model on source code: BPE, byte fallback, identity normalisation, no
// dummy prefix, digits apart, runs of white space as pieces; control symbols for documents and
// fill-in-the-middle. Same texts, same model. One thread at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace tristill::train {

// The serialized model. Errors: invalid_argument with param tokenizer.vocab_size when the texts
// are too small for it.
Result<std::string> train_sentencepiece(const std::vector<std::string_view>& texts,
                                        uint32_t vocab_size, const std::filesystem::path& scratch);

}  // namespace tristill::train
