// The plug-in's side of train/data/tokenizer_plugin.h.
#include "train/data/sentencepiece_train.h"
#include "train/data/tokenizer_plugin.h"

extern "C" {

[[gnu::visibility("default")]] void tristill_load_tokenizer(
    std::string_view model, tristill::Result<std::shared_ptr<const tristill::Tokenizer>>* result) {
  *result = tristill::Tokenizer::from_sentencepiece(model);
}

[[gnu::visibility("default")]] void tristill_train_tokenizer(
    const std::vector<std::string_view>* texts, uint32_t vocab_size, const std::string* scratch,
    tristill::Result<std::string>* result) {
  *result = tristill::train::train_sentencepiece(*texts, vocab_size, *scratch);
}

}  // extern "C"
