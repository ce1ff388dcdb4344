// TokenTrie: the tokens of a vocabulary by their bytes, so that what a grammar forbids is found for
// all tokens with a beginning in common at once. Immutable after construction: any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "model/tokenizer/tokenizer.h"

namespace tristill {

class TokenTrie {
 public:
  // Tokens without bytes (control tokens) are not in it.
  explicit TokenTrie(std::shared_ptr<const Tokenizer> tokenizer);

  // A beginning of tokens. Nodes stand in preorder: a node, then all that begin with it.
  struct Node {
    uint32_t end = 0;  // one past the last node that begins with this one
    uint32_t first_token = 0;  // in tokens(); they end where the next node's begin
    uint16_t depth = 0;  // bytes, at least 1
    uint16_t deepest = 0;  // of those that begin with this one
    uint8_t byte = 0;  // the last of them
  };
  uint32_t n_nodes() const { return static_cast<uint32_t>(nodes_.size() - 1); }
  const Node& node(uint32_t i) const { return nodes_[i]; }
  // Those that are spelled exactly so; several tokens may stand for the same bytes.
  std::span<const TokenId> tokens(uint32_t node) const {
    const uint32_t first = nodes_[node].first_token;
    return std::span(tokens_).subspan(first, nodes_[node + 1].first_token - first);
  }
  size_t longest() const { return longest_; }  // in bytes
  size_t vocab_size() const { return tokenizer_->vocab_size(); }
  std::string_view bytes_of(TokenId token) const { return tokenizer_->bytes_of(token); }

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::vector<Node> nodes_;  // one more than there are
  std::vector<TokenId> tokens_;
  size_t longest_ = 0;
};

}  // namespace tristill
