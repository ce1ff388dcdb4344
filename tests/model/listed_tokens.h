// A tokenizer of given tokens, for tests that need their bytes and no encoder.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "model/tokenizer/tokenizer.h"

namespace tristill {

// Tokens by their bytes, as given; those without bytes stand for control tokens.
class ListedTokens final : public Tokenizer {
 public:
  explicit ListedTokens(std::vector<std::string> tokens) : tokens_(std::move(tokens)) {}
  std::vector<TokenId> encode(std::string_view) const override { return {}; }
  std::string_view bytes_of(TokenId id) const override {
    return id >= 0 && static_cast<size_t>(id) < tokens_.size() ? tokens_[static_cast<size_t>(id)]
                                                               : std::string_view();
  }
  std::string_view piece_of(TokenId id) const override { return bytes_of(id); }
  size_t vocab_size() const override { return tokens_.size(); }
  const SpecialTokens& special() const override { return special_; }
  const ControlPieces& control_pieces() const override { return control_pieces_; }
  std::string_view serialized() const override { return {}; }
  const std::string& fingerprint() const override { return fingerprint_; }

 private:
  std::vector<std::string> tokens_;
  SpecialTokens special_;
  ControlPieces control_pieces_;
  std::string fingerprint_;
};

// Every byte, then what programs and JSON often hold, up to n tokens; no control tokens.
inline std::shared_ptr<const Tokenizer> byte_tokens(size_t n) {
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
  for (const char* text :
       {"\"", ", \"", "\": ", "[\"", "\"]", "{\"", "\"}", "true", "null", "the"}) {
    tokens.emplace_back(text);
  }
  for (char c = 'a'; tokens.size() < n; ++c) tokens.push_back({c, static_cast<char>(c + 1), c});
  return std::make_shared<ListedTokens>(std::move(tokens));
}

}  // namespace tristill
