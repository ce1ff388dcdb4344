// Which texts a grammar takes, and which grammars are refused.
#include "model/grammar/grammar.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/utf8.h"
#include "tests/model/grammar/texts.h"

namespace tristill::grammar {
namespace {

using Builder = GrammarBuilder;
using Expr = GrammarBuilder::Expr;

void expect_language(const std::shared_ptr<const Grammar>& grammar, std::string_view letters,
                     size_t longest, const std::function<bool(std::string_view)>& belongs) {
  for (const std::string& text : all_texts(letters, longest)) {
    EXPECT_EQ(takes(grammar, text), belongs(text)) << '"' << text << '"';
  }
}

TEST(CodePoints, AreASetAndItsComplement) {
  CodePoints set = {{'a', 'f'}, {'d', 'k'}, {'m', 'm'}, {0xD000, 0xE000}};
  EXPECT_EQ(set.ranges().size(), 4U);  // the surrogates are left out
  EXPECT_EQ(set.complement().complement(), set);
  EXPECT_EQ(set.without({{'b', 'b'}}).ranges().size(), 5U);
  set.add('l', 'l');
  EXPECT_EQ(set.ranges()[0], (CodePointRange{'a', 'm'}));
  EXPECT_FALSE(set.contains(0xD800));
  EXPECT_TRUE(CodePoints().empty());
}

TEST(CodePoints, EveryRangeIsSpelledInUtf8) {
  const uint32_t borders[] = {0,      0x24,   0x7F,   0x80,   0x7BF,   0x7FF,   0x800,   0xFFF,
                              0x1000, 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x3FFFF, 0x40000, 0x10FFFF};
  const auto spelled = [](uint32_t c) {
    std::string text;
    if (c < 0x80) return std::string(1, static_cast<char>(c));
    if (c < 0x800) text = {static_cast<char>(0xC0 | c >> 6)};
    else if (c < 0x10000)
      text = {static_cast<char>(0xE0 | c >> 12), static_cast<char>(0x80 | (c >> 6 & 0x3F))};
    else
      text = {static_cast<char>(0xF0 | c >> 18), static_cast<char>(0x80 | (c >> 12 & 0x3F)),
              static_cast<char>(0x80 | (c >> 6 & 0x3F))};
    return text + static_cast<char>(0x80 | (c & 0x3F));
  };
  for (const uint32_t low : borders) {
    for (const uint32_t high : borders) {
      if (low > high) continue;
      const CodePoints set = {{low, high}};
      const auto grammar = grammar_of([&](Builder& b, Expr) { return b.code_points(set); });
      for (const uint32_t border : borders) {
        for (const uint32_t c : {border - 1, border, border + 1}) {
          if (c > CodePoints::kLast || (c >= 0xD800 && c < 0xE000)) continue;
          EXPECT_EQ(takes(grammar, spelled(c)), low <= c && c <= high)
              << low << ' ' << high << ' ' << c;
          size_t at = 0;
          EXPECT_EQ(next_code_point(spelled(c), at), c);
        }
      }
    }
  }
}

TEST(CodePoints, AllOfThemAreValidUtf8AndNoMore) {
  const auto grammar =
      grammar_of([](Builder& b, Expr) { return b.code_points(CodePoints::all()); });
  for (const std::string_view text : {"\xC0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\x80",
                                      "\xE2\x82", "\xF8\x88\x80\x80\x80", "\xFF"}) {
    EXPECT_FALSE(takes(grammar, text));
    EXPECT_FALSE(utf8_is_valid(text));
  }
}

TEST(Grammar, OneOfSharesBeginningsAndTakesEachText) {
  const std::vector<std::string> texts = {"", "a", "ab", "abc", "b", "bca", "cc", "a"};
  const auto grammar = grammar_of([&](Builder& b, Expr) { return b.one_of(texts); });
  expect_language(grammar, "abc", 4, [&](std::string_view text) {
    return std::ranges::find(texts, text) != texts.end();
  });
}

TEST(Grammar, RepetitionsCount) {
  for (const auto& [least, most] :
       std::vector<std::pair<uint32_t, std::optional<uint32_t>>>{{0, 0},
                                                                 {0, 1},
                                                                 {1, 1},
                                                                 {2, 4},
                                                                 {0, std::nullopt},
                                                                 {1, std::nullopt},
                                                                 {3, std::nullopt},
                                                                 {64, 70},
                                                                 {0, 70},
                                                                 {70, 200},
                                                                 {200, std::nullopt},
                                                                 {513, 513},
                                                                 {0, 600},
                                                                 {0, 768},
                                                                 {5, 1500},
                                                                 {1000, 1500},
                                                                 {600, std::nullopt},
                                                                 {1030, 1030}}) {
    const auto grammar = grammar_of([&](Builder& b, Expr) {
      return b.repeat(b.choice({b.literal("a"), b.literal("bb")}), least, most);
    });
    for (uint32_t n = 0; n < 1700; n += n < 8 ? 1 : 1 + n / 12) {
      for (const uint32_t count : {n, least, most.value_or(n), most.value_or(n) + 1}) {
        std::string text;
        for (uint32_t i = 0; i < count; ++i) text += i % 3 == 0 ? "bb" : "a";
        EXPECT_EQ(takes(grammar, text), count >= least && count <= most.value_or(count))
            << least << ' ' << most.value_or(0) << ' ' << count;
      }
    }
  }
}

TEST(Grammar, RulesNest) {
  const auto grammar = grammar_of([](Builder& b, Expr self) {
    return b.optional(b.sequence({b.literal("a"), self, b.literal("b")}));
  });
  expect_language(grammar, "ab", 10, [](std::string_view text) {
    const size_t half = text.size() / 2;
    return text == std::string(half, 'a') + std::string(half, 'b');
  });
}

// Every way to read a text counts, however many there are.
TEST(Grammar, AmbiguousGrammarsTakeWhatAnyReadingTakes) {
  const auto palindromes = grammar_of([](Builder& b, Expr self) {
    return b.choice({b.empty(), b.literal("a"), b.literal("b"),
                     b.sequence({b.literal("a"), self, b.literal("a")}),
                     b.sequence({b.literal("b"), self, b.literal("b")})});
  });
  expect_language(palindromes, "ab", 9, [](std::string_view text) {
    return std::ranges::equal(text, std::string(text.rbegin(), text.rend()));
  });
  const auto doubled = grammar_of([](Builder& b, Expr self) {
    return b.choice({b.sequence({b.literal("a"), self, self}), b.sequence({b.literal("a"), self}),
                     b.literal("a")});
  });
  EXPECT_TRUE(takes(doubled, std::string(300, 'a')));
  EXPECT_FALSE(takes(doubled, ""));
}

TEST(Grammar, RightRecursionNeedsNoMemory) {
  const auto grammar = grammar_of([](Builder& b, Expr self) {
    return b.choice({b.empty(), b.sequence({b.literal("x"), self})});
  });
  EXPECT_TRUE(takes(grammar, std::string(200'000, 'x')));
}

TEST(Grammar, NullablePartsMayBeLeftOutOrRepeated) {
  const auto grammar = grammar_of([](Builder& b, Expr) {
    const Expr star = b.repeat(b.literal("a"), 0, std::nullopt);
    const Expr twice = b.repeat(b.sequence({star, b.optional(b.literal("b"))}), 0, 3);
    return b.sequence({b.repeat(star, 0, std::nullopt), twice, b.repeat(b.empty(), 2, 5)});
  });
  expect_language(grammar, "ab", 6, [](std::string_view text) {
    const auto n = std::ranges::count(text, 'b');
    return n < 3 || (n == 3 && text.ends_with('b'));
  });
}

std::string refusal(const Write& write) {
  const auto grammar = build(write);
  return grammar ? "" : grammar.error().message;
}

TEST(Grammar, LeftRecursionIsRefused) {
  const std::string reason = "left recursion";
  const auto refused = [&](const Write& write) {
    return refusal(write).find(reason) != std::string::npos;
  };
  EXPECT_TRUE(refused([](Builder& b, Expr self) {
    return b.choice({b.literal("a"), b.sequence({self, b.literal("a")})});
  }));
  EXPECT_TRUE(refused([](Builder& b, Expr self) {
    return b.choice({b.literal("a"), b.sequence({b.optional(b.literal("b")), self})});
  }));
  EXPECT_TRUE(refused([](Builder& b, Expr self) {
    const auto between = b.rule("between");
    b.define(between, b.sequence({b.repeat(b.literal("c"), 0, std::nullopt), self}));
    return b.choice({b.literal("a"), b.call(between)});
  }));
  EXPECT_FALSE(refused([](Builder& b, Expr self) {
    return b.choice({b.literal("a"), b.sequence({b.literal("b"), self, self})});
  }));
}

TEST(Grammar, GrammarsWithoutTextsAreRefused) {
  EXPECT_EQ(refusal([](Builder& b, Expr) { return b.nothing(); }), "the grammar matches no text");
  EXPECT_EQ(refusal([](Builder& b, Expr self) { return b.sequence({b.literal("a"), self}); }),
            "the grammar matches no text");
  EXPECT_EQ(refusal([](Builder& b, Expr) {
              return b.sequence({b.literal("a"), b.code_points({}), b.literal("b")});
            }),
            "the grammar matches no text");
  EXPECT_EQ(refusal([](Builder& b, Expr) { return b.call(b.rule("missing")); }),
            "the rule missing is used and not defined");
}

// What leads nowhere is never offered: every text that was begun can be completed.
TEST(Grammar, WaysWithoutAnEndAreNoWays) {
  const auto grammar = grammar_of([](Builder& b, Expr) {
    const auto endless = b.rule("endless");
    b.define(endless, b.sequence({b.literal("x"), b.call(endless)}));
    return b.choice({b.sequence({b.literal("a"), b.call(endless)}), b.literal("b")});
  });
  GrammarState state(grammar, every_byte(), {});
  EXPECT_FALSE(state.accept("a"));
  EXPECT_TRUE(state.accept("b"));
  EXPECT_TRUE(state.must_end());
}

TEST(Grammar, WhatIsTooLargeIsRefused) {
  const auto too_large = [](const Write& write) {
    return refusal(write).starts_with("the grammar has too many ");
  };
  EXPECT_TRUE(too_large(
      [](Builder& b, Expr) { return b.repeat(b.literal("a"), 0, Builder::kMaxRepeats + 1); }));
  EXPECT_TRUE(too_large([](Builder& b, Expr) {
    Expr nested = b.literal("a");
    for (uint32_t i = 0; i < Builder::kMaxDepth; ++i) nested = b.sequence({nested, b.literal("b")});
    return nested;
  }));
  EXPECT_TRUE(too_large([](Builder& b, Expr) {
    std::vector<Expr> parts;
    for (int i = 0; i < 1000; ++i) parts.push_back(b.repeat(b.literal("ab"), 200, 400));
    return b.sequence(parts);
  }));
  EXPECT_TRUE(too_large(
      [](Builder& b, Expr) { return b.literal(std::string(Builder::kMaxLiteralBytes + 1, 'a')); }));
  EXPECT_TRUE(too_large([](Builder& b, Expr) {
    std::vector<Expr> parts;
    for (size_t i = 0; i <= Builder::kMaxRules; ++i) parts.push_back(b.call(b.rule("r")));
    return b.choice(parts);
  }));
  EXPECT_TRUE(too_large([](Builder& b, Expr) {
    for (size_t i = 0; i <= Builder::kMaxExpressions; ++i) b.literal("a");
    return b.literal("a");
  }));
}

}  // namespace
}  // namespace tristill::grammar
