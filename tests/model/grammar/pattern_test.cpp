// Patterns match what ECMA-262 says; what is not accepted is refused by name.
#include "model/grammar/pattern.h"

#include <gtest/gtest.h>

#include "tests/model/grammar/texts.h"

namespace tristill::grammar {
namespace {

Result<std::shared_ptr<const Grammar>> compile(std::string_view pattern) {
  GrammarBuilder b;
  const auto anything = b.repeat(b.code_points(CodePoints::all()), 0, std::nullopt);
  const PatternSpelling spelling{[&](const CodePoints& set) { return b.code_points(set); },
                                 anything};
  const auto body = read_pattern(b, pattern, spelling);
  if (!body) return body.error();
  const auto rule = b.rule("pattern");
  b.define(rule, *body);
  return b.build(rule);
}

bool matches(std::string_view pattern, std::string_view text) {
  const auto grammar = compile(pattern);
  EXPECT_TRUE(grammar) << pattern << ": " << (grammar ? "" : grammar.error().message);
  return grammar && takes(*grammar, text);
}

struct Case {
  const char* pattern;
  std::vector<std::string> matching;
  std::vector<std::string> others;
};

TEST(Pattern, MatchesAsEcmaScriptDoes) {
  const std::vector<Case> cases = {
      {"", {"", "abc"}, {}},
      {"^$", {""}, {"a"}},
      {"^abc$", {"abc"}, {"ab", "abcd", "xabc"}},
      {"b", {"b", "abc", "bbb"}, {"", "ac"}},
      {"^a|b$", {"a", "ax", "b", "xb"}, {"", "xay", "bx"}},
      {"^(a|bc)+$", {"a", "bc", "abca"}, {"", "b", "ac"}},
      {"^(?:ab){2,3}?$", {"abab", "ababab"}, {"ab", "abababab"}},
      {"^(?<year>[0-9]{4})-\\d\\d$", {"2024-05"}, {"24-05", "2024-5"}},
      {"^a{0}b{2}c{1,}$", {"bbc", "bbccc"}, {"abbc", "bc", "bb"}},
      {"^[^a-c\\d]$", {"d", "\xC3\xA4", "]"}, {"a", "5", ""}},
      {"^[-a\\]^.]+$", {"-", "a]^.", "^"}, {"b", "\\"}},
      {"^[a-]$", {"a", "-"}, {"b"}},
      {"^.$", {"x", "\xE2\x82\xAC", "\xF0\x9F\x98\x80"}, {"\n", "", "ab", "\xE2\x80\xA8"}},
      {"^\\w\\W\\s\\S\\D$", {"a- xy", "_.\tbz"}, {"-- xy", "a- x5"}},
      {"^\\x41\\u00e9\\u{1F600}\\uD83D\\uDE00$", {"A\xC3\xA9\xF0\x9F\x98\x80\xF0\x9F\x98\x80"}, {}},
      {"^\\^\\$\\.\\*\\+\\?\\(\\)\\[\\]\\{\\}\\|\\/\\\\\\-$", {"^$.*+?()[]{}|/\\-"}, {}},
      {"^[\\b\\t\\n\\0]$", {"\b", "\t", "\n", std::string(1, '\0')}, {"b"}},
      {"^(|a)(b|)$", {"", "a", "b", "ab"}, {"ba"}},
      {"^\xC3\xA9?$", {"", "\xC3\xA9"}, {"e"}},
  };
  for (const Case& one : cases) {
    for (const auto& text : one.matching)
      EXPECT_TRUE(matches(one.pattern, text)) << one.pattern << ' ' << text;
    for (const auto& text : one.others)
      EXPECT_FALSE(matches(one.pattern, text)) << one.pattern << ' ' << text;
  }
}

TEST(Pattern, RefusesWhatItDoesNotKnowByName) {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {"(?=a)", "\"(?=\""},
      {"(?!a)b", "\"(?!\""},
      {"(?<=a)b", "\"(?<\""},
      {"(?i)a", "\"(?i\""},
      {"(a)\\1", "\"\\1\""},
      {"\\bword", "\"\\b\""},
      {"\\p{L}", "\"\\p\""},
      {"a**", "\"*\""},
      {"a{2}{3}", "\"{\""},
      {"a++", "\"+\""},
      {"*a", "\"*\""},
      {"(a", "\"(\""},
      {"a)", "\")\""},
      {"[a", "\"[\""},
      {"[z-a]", "\"-\""},
      {"[\\d-z]", "\"-\""},
      {"a{", "\"{\""},
      {"a{x}", "\"{\""},
      {"a{3,2}", "\"{\""},
      {"a{,2}", "\"{\""},
      {"a{999999}", "\"{\""},
      {"\\", "\"\\\""},
      {"\\x4", "\"\\\""},
      {"\\uD800", "\"\\u\""},
      {"\\u{110000}", "\"\\u{\""},
      {"(^a)", "\"^\""},
      {"(a$)", "\"(\""},
      {"a^b", "\"^\""},
      {"a$b", "\"b\""},
      {"}", "\"}\""},
      {"\\cA", "\"\\c\""},
      {"\\uD800\\u0041", "\"\\u\""},
  };
  for (const auto& [pattern, part] : cases) {
    const auto grammar = compile(pattern);
    ASSERT_FALSE(grammar) << pattern;
    EXPECT_EQ(grammar.error().code, ErrorCode::invalid_argument);
    EXPECT_NE(grammar.error().message.find(part), std::string::npos)
        << pattern << ": " << grammar.error().message;
  }
  EXPECT_FALSE(compile(std::string(100'000, '(')));
  EXPECT_FALSE(compile("((((a{1000}){1000}){1000}){1000}){1000}b{99999}c{99999}" +
                       std::string(5000, 'x') + "(x{99999}){99999}["));
}

}  // namespace
}  // namespace tristill::grammar
