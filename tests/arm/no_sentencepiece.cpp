// These tests read no SentencePiece model, and no library for Arm is there that could.
#include "model/tokenizer/tokenizer.h"

namespace tristill {

Result<std::shared_ptr<const Tokenizer>> Tokenizer::from_sentencepiece(std::string_view) {
  return Error{ErrorCode::unavailable, "built without SentencePiece", ""};
}

}  // namespace tristill
