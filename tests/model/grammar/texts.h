// What the grammars' tests share: which texts a grammar takes, and a vocabulary of given tokens.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "model/grammar/grammar_builder.h"
#include "model/grammar/grammar_state.h"
#include "tests/model/listed_tokens.h"

namespace tristill::grammar {

inline std::shared_ptr<const TokenTrie> trie_of(std::vector<std::string> tokens) {
  return std::make_shared<TokenTrie>(std::make_shared<ListedTokens>(std::move(tokens)));
}

inline std::shared_ptr<const TokenTrie> every_byte() {
  std::vector<std::string> bytes;
  for (int byte = 0; byte < 256; ++byte) bytes.emplace_back(1, static_cast<char>(byte));
  static const auto trie = trie_of(bytes);
  return trie;
}

using Write = std::function<GrammarBuilder::Expr(GrammarBuilder&, GrammarBuilder::Expr)>;

// The grammar of one rule: `write` gives its body, and may call it by the second argument.
inline Result<std::shared_ptr<const Grammar>> build(const Write& write) {
  GrammarBuilder builder;
  const auto rule = builder.rule("text");
  builder.define(rule, write(builder, builder.call(rule)));
  return builder.build(rule);
}

inline std::shared_ptr<const Grammar> grammar_of(const Write& write) {
  auto grammar = build(write);
  EXPECT_TRUE(grammar) << (grammar ? "" : grammar.error().message);
  return *grammar;
}

inline bool takes(const std::shared_ptr<const Grammar>& grammar, std::string_view text) {
  GrammarState state(grammar, every_byte(), {});
  return state.accept(text) && state.may_end();
}

// Every text of these letters up to a length.
inline std::vector<std::string> all_texts(std::string_view letters, size_t longest) {
  std::vector<std::string> texts = {""};
  for (size_t i = 0; i < texts.size(); ++i) {
    if (texts[i].size() == longest) break;
    for (const char letter : letters) texts.push_back(texts[i] + letter);
  }
  return texts;
}

}  // namespace tristill::grammar
