#include "model/grammar/token_trie.h"

#include <algorithm>

#include "base/check.h"

namespace tristill {

TokenTrie::TokenTrie(std::shared_ptr<const Tokenizer> tokenizer)
    : tokenizer_(std::move(tokenizer)) {
  CHECK(tokenizer_ != nullptr);
  for (size_t id = 0; id < tokenizer_->vocab_size(); ++id) {
    const auto token = static_cast<TokenId>(id);
    const std::string_view bytes = bytes_of(token);
    // Depths have 16 bits: a token that is longer is never written under a grammar.
    if (!bytes.empty() && bytes.size() <= UINT16_MAX) tokens_.push_back(token);
  }
  std::ranges::sort(tokens_, [this](TokenId a, TokenId b) {
    const int order = bytes_of(a).compare(bytes_of(b));
    return order < 0 || (order == 0 && a < b);
  });
  std::vector<uint32_t> path;  // nodes of the token before
  const auto leave = [&](size_t depth) {
    for (; path.size() > depth; path.pop_back()) {
      Node& left = nodes_[path.back()];
      left.end = static_cast<uint32_t>(nodes_.size());
      left.deepest = std::max(left.deepest, left.depth);
      if (path.size() == 1) continue;
      Node& above = nodes_[path[path.size() - 2]];
      above.deepest = std::max(above.deepest, left.deepest);
    }
  };
  std::string_view before;
  for (uint32_t t = 0; t < tokens_.size(); ++t) {
    const std::string_view bytes = bytes_of(tokens_[t]);
    longest_ = std::max(longest_, bytes.size());
    const auto differs = std::ranges::mismatch(before, bytes);
    leave(static_cast<size_t>(differs.in2 - bytes.begin()));
    while (path.size() < bytes.size()) {
      Node node;
      node.first_token = t;
      node.byte = static_cast<uint8_t>(bytes[path.size()]);
      path.push_back(static_cast<uint32_t>(nodes_.size()));
      node.depth = static_cast<uint16_t>(path.size());
      nodes_.push_back(node);
    }
    before = bytes;
  }
  leave(0);
  nodes_.push_back({.first_token = static_cast<uint32_t>(tokens_.size())});
}

}  // namespace tristill
