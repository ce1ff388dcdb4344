// GBNF says the same here as in llama.cpp; what is wrong is refused with its line.
#include "model/grammar/gbnf.h"

#include <gtest/gtest.h>

#include "tests/model/grammar/texts.h"

namespace tristill::grammar {
namespace {

bool accepts(std::string_view gbnf, std::string_view text) {
  const auto grammar = read_gbnf(gbnf);
  EXPECT_TRUE(grammar) << gbnf << ": " << (grammar ? "" : grammar.error().message);
  return grammar && takes(*grammar, text);
}

TEST(Gbnf, ReadsRulesLiteralsClassesGroupsAndRepetitions) {
  constexpr std::string_view kCalls = R"gbnf(
# calls of functions
root  ::= call ("," ws call)*
call  ::= name "(" (arg ("," ws arg){0,2})? ")" |
          "none"
name  ::= [a-z_] [a-z0-9_]*
arg   ::= [0-9]+ | call | "\"" [^"\\\n]* "\""   # a number, a call, a text
ws    ::= " "?
)gbnf";
  for (const char* text : {"f()", "none", "f(1)", "f(1, g(2),\"x y\"), none", "a_1(none)"}) {
    EXPECT_TRUE(accepts(kCalls, text)) << text;
  }
  for (const char* text : {"", "f", "f(1,)", "f(1,2,3,4)", "1()", "f(\"a\n\")", "f()  , g()"}) {
    EXPECT_FALSE(accepts(kCalls, text)) << text;
  }
}

TEST(Gbnf, Details) {
  EXPECT_TRUE(accepts("root ::= \"\"", ""));
  EXPECT_TRUE(accepts("root ::= ", ""));
  EXPECT_TRUE(accepts("root ::= .", "\xF0\x9F\x98\x80"));
  EXPECT_TRUE(accepts("root ::= [\\u00e9-\\u00ef\\x41\\U0001F600]{4}",
                      "\xC3\xA9\xC3\xAF"
                      "A\xF0\x9F\x98\x80"));
  EXPECT_TRUE(accepts("root ::= \"\\x41\\n\\t\\r\\\\\\\"\\u20ac\"", "A\n\t\r\\\"\xE2\x82\xAC"));
  EXPECT_TRUE(accepts("root ::= [-a] [a-] [\\]\\-] [^\\]]", "-a]["));
  EXPECT_TRUE(accepts("root ::= (\n  \"a\"\n  | \"b\"\n)+\r\n", "abba"));
  EXPECT_TRUE(accepts("a-b ::= \"x\"\r\n\r\nroot ::= a-b{2,}", "xxx"));
  EXPECT_FALSE(accepts("root ::= \"x\"{2,3}", "xxxx"));
  EXPECT_TRUE(accepts("root ::= \"x\"?*", "xx"));
}

TEST(Gbnf, RefusesWithTheLine) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "no rule root"},
      {"rot ::= \"a\"", "no rule root"},
      {"root ::= a", "the rule a is used and not defined"},
      {"root ::= root \"a\" | \"b\"", "left recursion"},
      {"root ::= \"a\" root", "matches no text"},
      {"root ::= \"a", "line 1 of the grammar: a literal"},
      {"root ::= [a", "line 1 of the grammar: a class"},
      {"root ::= (\"a\"", "a parenthesis has no end"},
      {"root ::= \"a\")", "\")\" is not accepted here"},
      {"root ::= \"a\"\nroot ::= \"b\"", "line 2 of the grammar: the rule root is defined twice"},
      {"root = \"a\"", "::="},
      {"::= \"a\"", "the name of a rule"},
      {"root ::= \"\\q\"", "an escape is not known"},
      {"root ::= \"\\xG0\"", "lacks hexadecimal digits"},
      {"root ::= \"\\uD800\"", "names no character"},
      {"root ::= \"\\U00110000\"", "names no character"},
      {"root ::= \"a\"{3,2}", "counts downwards"},
      {"root ::= \"a\"{x}", "accepted repetitions"},
      {"root ::= \"a\"{9999999}", "above 100000"},
      {"root ::= [z-a]", "runs backwards"},
      {"root ::= " + std::string(100'000, '('), "nested too deep"},
      {"root ::= \"a\"" + std::string(100'000, '*'), "too many"},
      {"root ::= \"\xFF\"", "not valid UTF-8"},
      {std::string(kMaxGbnfBytes + 1, ' '), "bytes"},
  };
  for (const auto& [text, reason] : cases) {
    const auto grammar = read_gbnf(text);
    ASSERT_FALSE(grammar) << text.substr(0, 80);
    EXPECT_EQ(grammar.error().code, ErrorCode::invalid_argument);
    EXPECT_EQ(grammar.error().param, "grammar");
    EXPECT_NE(grammar.error().message.find(reason), std::string::npos)
        << text.substr(0, 80) << ": " << grammar.error().message;
  }
}

}  // namespace
}  // namespace tristill::grammar
