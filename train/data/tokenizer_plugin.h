// The SentencePiece tokenizer inside the worker lives in a plug-in, loaded beside the program:
// Debian's libsentencepiece exports an old protobuf whose symbols collide with the one libtorch
// needs, so its symbols must stay local. The plug-in is the same code that the daemon links.
// tokenizer_plugin.cpp defines Tokenizer::from_sentencepiece and train_sentencepiece for the
// worker; plugin_exports.cpp is the other side. One compiler builds both, so C++ types may cross.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/tokenizer/tokenizer.h"

namespace tristill::train {

using LoadTokenizer = void (*)(std::string_view model,
                               Result<std::shared_ptr<const Tokenizer>>* result);
using TrainTokenizer = void (*)(const std::vector<std::string_view>* texts, uint32_t vocab_size,
                                const std::string* scratch, Result<std::string>* result);

inline constexpr const char* kPluginFile = "tristill-tokenizer.so";
inline constexpr const char* kLoadTokenizer = "tristill_load_tokenizer";
inline constexpr const char* kTrainTokenizer = "tristill_train_tokenizer";

}  // namespace tristill::train
