// Masks equal what brute force finds, token by token; following a grammar is bounded.
#include "model/grammar/grammar_state.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "base/random.h"
#include "tests/model/grammar/texts.h"
#include "tests/support/test_model.h"

namespace tristill::grammar {
namespace {

using Builder = GrammarBuilder;
using Expr = GrammarBuilder::Expr;

constexpr uint64_t kSeed = 31;

std::set<TokenId> masked_in(GrammarState& state, size_t vocabulary) {
  std::vector<float> logits(vocabulary, 1.0F);
  const bool any = state.mask(logits);
  std::set<TokenId> allowed;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] == 1.0F) allowed.insert(static_cast<TokenId>(i));
    else EXPECT_EQ(logits[i], -INFINITY);
  }
  EXPECT_EQ(any, !allowed.empty());
  return allowed;
}

// Token by token, each from a state of its own that knows nothing yet.
std::set<TokenId> found_by_brute_force(const std::shared_ptr<const Grammar>& grammar,
                                       const std::shared_ptr<const TokenTrie>& trie,
                                       const std::string& text) {
  std::set<TokenId> allowed;
  for (size_t i = 0; i < trie->vocab_size(); ++i) {
    GrammarState state(grammar, trie, {});
    EXPECT_TRUE(state.accept(text));
    const auto bytes = trie->bytes_of(static_cast<TokenId>(i));
    if (!bytes.empty() && state.accept(bytes)) allowed.insert(static_cast<TokenId>(i));
  }
  return allowed;
}

// Random expressions over a few letters, with calls of themselves behind a byte.
Expr random_expr(Builder& b, RandomStream& random, Expr self, int depth) {
  const auto part = [&] { return random_expr(b, random, self, depth - 1); };
  const auto letter = [&] { return b.literal(std::string(1, "abc"[random.below(3)])); };
  switch (depth <= 0 ? random.below(2) : random.below(8)) {
    case 0: return letter();
    case 1: return b.code_points({{'b', 'c'}, {0xE4, 0xE9}});
    case 2: return b.sequence({part(), part()});
    case 3: return b.choice({part(), part(), part()});
    case 4: return b.optional(part());
    case 5: return b.repeat(part(), 0, std::nullopt);
    case 6: {
      const auto least = static_cast<uint32_t>(random.below(3));
      const auto most = least + static_cast<uint32_t>(random.below(90));
      return b.repeat(random_expr(b, random, self, 0), least, most);
    }
    default: return b.sequence({letter(), self, part()});
  }
}

TEST(GrammarState, MasksEqualBruteForceForRandomGrammars) {
  std::vector<std::string> tokens = all_texts("abc", 4);
  tokens.insert(tokens.end(), {"\xC3", "\xA4", "\xC3\xA9", "b\xC3",
                               "\xA9"
                               "a",
                               "aaaaaaaaaaaaa", "ab"});
  const auto trie = trie_of(tokens);
  size_t compared = 0;
  for (uint64_t round = 0; round < 100; ++round) {
    RandomStream random(kSeed, round);
    const auto grammar = build([&](Builder& b, Expr self) {
      return b.choice({random_expr(b, random, self, 4), b.literal("a")});
    });
    if (!grammar) continue;  // by chance left recursive
    GrammarState state(*grammar, trie, {});
    std::string text;
    for (int step = 0; step < 12; ++step) {
      const auto allowed = masked_in(state, trie->vocab_size());
      ASSERT_EQ(allowed, found_by_brute_force(*grammar, trie, text))
          << "seed " << kSeed << ", round " << round << ", after " << text;
      for (size_t i = 0; i < tokens.size(); ++i) {
        const auto token = static_cast<TokenId>(i);
        EXPECT_EQ(state.allows(token), allowed.contains(token));
      }
      ++compared;
      if (allowed.empty()) {
        EXPECT_TRUE(state.must_end());
        break;
      }
      const TokenId next =
          *std::next(allowed.begin(), static_cast<long>(random.below(allowed.size())));
      EXPECT_TRUE(state.accept(next));
      text += trie->bytes_of(next);
    }
  }
  EXPECT_GT(compared, 600U);
}

TEST(GrammarState, EndTokensComeExactlyWhenTheTextMayEndAndControlTokensNever) {
  const auto trie = trie_of({"", "", "a", "b", "ab"});  // 1 is eos, 3 is a stop token
  const auto grammar = grammar_of([](Builder& b, Expr) {
    return b.sequence({b.literal("a"), b.repeat(b.literal("b"), 0, 2)});
  });
  GrammarState state(grammar, trie, {1, 3});
  EXPECT_EQ(masked_in(state, 7), (std::set<TokenId>{2, 4}));
  EXPECT_FALSE(state.allows(1));
  EXPECT_TRUE(state.accept(TokenId{2}));
  EXPECT_EQ(masked_in(state, 7), (std::set<TokenId>{1, 3}));  // b now ends the text
  EXPECT_TRUE(state.allows(1));
  EXPECT_FALSE(state.allows(0));
  EXPECT_TRUE(state.may_end());
  EXPECT_FALSE(state.must_end());
  EXPECT_TRUE(state.accept("bb"));
  EXPECT_TRUE(state.must_end());
}

TEST(GrammarState, ARefusedTokenChangesNothing) {
  const auto trie = trie_of({"a", "b", "ac"});
  const auto grammar = grammar_of([](Builder& b, Expr) { return b.literal("ab"); });
  GrammarState state(grammar, trie, {});
  EXPECT_FALSE(state.accept(TokenId{2}));
  EXPECT_FALSE(state.accept(TokenId{1}));
  EXPECT_TRUE(state.accept(TokenId{0}));
  EXPECT_TRUE(state.accept(TokenId{1}));
  EXPECT_TRUE(state.must_end());
}

TEST(GrammarState, NothingIsLeftWhereTheVocabularyLacksTheBytes) {
  const auto trie = trie_of({"a", "x"});
  const auto grammar = grammar_of([](Builder& b, Expr) { return b.literal("ab"); });
  GrammarState state(grammar, trie, {});
  EXPECT_TRUE(state.accept(TokenId{0}));
  EXPECT_EQ(masked_in(state, 2), std::set<TokenId>{});
  EXPECT_FALSE(state.may_end());
}

// Far from its ends a long repetition looks the same everywhere; near them it must not.
TEST(GrammarState, MasksOfLongRepetitionsAreExactAtBothEnds) {
  const auto trie = trie_of({"x", "xx", "xxx", "xxxxxxxx", "]", "x]", "xxx]", "x]]"});
  const auto grammar = grammar_of([](Builder& b, Expr) {
    return b.sequence({b.repeat(b.literal("x"), 100, 700), b.literal("]")});
  });
  GrammarState state(grammar, trie, {});
  std::string text;
  for (; text.size() < 700; text += "x") {
    if (text.size() < 6 || (text.size() > 30 && text.size() < 45) || text.size() % 7 == 0) {
      ASSERT_EQ(masked_in(state, 8), found_by_brute_force(grammar, trie, text)) << text.size();
    }
    EXPECT_TRUE(state.accept("x"));
  }
  EXPECT_EQ(masked_in(state, 8), std::set<TokenId>{4});
}

TEST(GrammarState, DeepNestingEndsWithAnError) {
  const auto grammar = grammar_of([](Builder& b, Expr self) {
    return b.sequence({b.literal("["), b.optional(self), b.literal("]")});
  });
  GrammarState state(grammar, every_byte(), {});
  EXPECT_TRUE(state.accept(std::string(1000, '[') + std::string(999, ']')));
  EXPECT_FALSE(state.may_end());
  EXPECT_TRUE(state.accept("]"));
  EXPECT_TRUE(state.must_end());
  GrammarState deep(grammar, every_byte(), {});
  EXPECT_THROW(deep.accept(std::string(5000, '[')), std::runtime_error);
}

// As many readings as there are ways to bracket: shared, so the cost grows gently and is bounded.
TEST(GrammarState, AmbiguityIsSharedOrEndsWithAnError) {
  const auto grammar = grammar_of([](Builder& b, Expr self) {
    std::vector<Expr> ways = {b.literal("a")};
    for (char end = 'b'; end <= 'z'; ++end) {
      ways.push_back(
          b.sequence({b.literal("a"), self, b.optional(self), b.literal(std::string(1, end))}));
    }
    return b.choice(ways);
  });
  GrammarState state(grammar, every_byte(), {});
  EXPECT_TRUE(state.accept(std::string(300, 'a')));
  std::vector<float> logits(256);
  EXPECT_TRUE(state.mask(logits));
  for (const char byte : {'a', 'b', 'z'})
    EXPECT_TRUE(std::isfinite(logits[static_cast<size_t>(byte)]));
  EXPECT_EQ(logits['A'], -INFINITY);
}

// Memory that is given up in between changes no answer.
TEST(GrammarState, LongTextsOfManyContextsStayExact) {
  const auto grammar = grammar_of([](Builder& b, Expr self) {
    return b.choice(
        {b.literal("x"), b.sequence({b.literal("["), b.repeat(self, 0, 700), b.literal("]")})});
  });
  GrammarState state(grammar, every_byte(), {});
  RandomStream random(kSeed, 1);
  EXPECT_TRUE(state.accept("["));
  int depth = 1;
  for (int i = 0; i < 40'000; ++i) {
    std::vector<float> logits(256, 1.0F);
    if (i % 100 == 0) {
      EXPECT_TRUE(state.mask(logits));
      EXPECT_EQ(logits['x'], 1.0F);
      EXPECT_EQ(logits['y'], -INFINITY);
    }
    const auto choice = random.below(4);
    if (choice == 0 && depth < 600) {
      EXPECT_TRUE(state.accept("["));
      ++depth;
    } else if (choice == 1 && depth > 2) {
      EXPECT_TRUE(state.accept("]"));
      --depth;
    } else {
      EXPECT_TRUE(state.accept("x"));
    }
  }
  for (; depth > 0; --depth) EXPECT_TRUE(state.accept("]"));
  EXPECT_TRUE(state.must_end());
}

TEST(TokenTrie, HoldsEveryTokenWithBytesOnce) {
  const TokenTrie trie(test::tiny_tokenizer());
  size_t n_tokens = 0;
  for (uint32_t i = 0; i < trie.n_nodes(); ++i) {
    const auto& node = trie.node(i);
    EXPECT_GT(node.end, i);
    for (const TokenId token : trie.tokens(i)) {
      const auto bytes = trie.bytes_of(token);
      ++n_tokens;
      EXPECT_EQ(bytes.size(), node.depth);
      EXPECT_EQ(static_cast<uint8_t>(bytes.back()), node.byte);
    }
  }
  size_t expected = 0;
  for (size_t i = 0; i < trie.vocab_size(); ++i) {
    if (!trie.bytes_of(static_cast<TokenId>(i)).empty()) ++expected;
  }
  EXPECT_EQ(n_tokens, expected);
}

}  // namespace
}  // namespace tristill::grammar
