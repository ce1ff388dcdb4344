#include "train/loss/format_loss.h"

#include "base/check.h"

namespace tristill::train {

std::vector<uint8_t> structural_tokens(const Tokenizer& tokenizer, size_t vocab_size,
                                       std::string_view characters) {
  CHECK(vocab_size >= tokenizer.vocab_size());
  std::vector<uint8_t> structural(vocab_size, 0);
  for (size_t id = 0; id < tokenizer.vocab_size(); ++id) {
    const std::string_view bytes = tokenizer.bytes_of(static_cast<TokenId>(id));
    const bool found = bytes.find_first_of(characters) != std::string_view::npos ||
                       bytes.find("```") != std::string_view::npos;
    structural[id] = found ? 1 : 0;
  }
  return structural;
}

}  // namespace tristill::train
