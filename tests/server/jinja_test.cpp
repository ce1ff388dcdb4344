// The language of chat templates: what it says, what it refuses, what it cannot be made to do.
// tests/e2e/test_chat_templates.py holds it against Jinja itself.
#include <gtest/gtest.h>

#include "server/chat/json_value.h"
#include "server/jinja/template.h"

namespace tristill::jinja {
namespace {

using chat::to_value;
using nlohmann::ordered_json;

Variables variables() {
  Variables given;
  given["messages"] = to_value(ordered_json::parse(
      R"([{"role": "user", "content": " Hi \u00e9\n"}, {"role": "assistant", "content": "ok"}])"));
  given["n"] = int64_t{7};
  given["nothing"] = None{};
  return given;
}

Result<Text> render(const std::string& source, const Limits& limits = {}) {
  const auto parsed = Template::parse(source);
  if (!parsed) return parsed.error();
  return (*parsed)->render(variables(), std::chrono::system_clock::time_point(), limits);
}

std::string text(const std::string& source) {
  const auto rendered = render(source);
  return rendered ? rendered->bytes() : "error: " + rendered.error().message;
}

std::string error(const std::string& source, const Limits& limits = {}) {
  const auto rendered = render(source, limits);
  return rendered ? "no error: " + rendered->bytes() : rendered.error().message;
}

TEST(Jinja, TagsTakeAwayWhiteSpaceAsTheySay) {
  EXPECT_EQ(text("a\n  {% if true %}\nb\n  {% endif %}\nc\n"), "a\nb\nc");
  EXPECT_EQ(text("a\n  {%- if true -%}\n b {%+ endif %}\n c"), "ab  c");
  EXPECT_EQ(text("  {{ 1 }}\n {{- 2 -}} \n 3"), "  123");
  EXPECT_EQ(text("a {# note #}\nb\n {#- x -#} \n c"), "a bc");
  EXPECT_EQ(text("{% raw %}{{ x }} {% y{% endraw %}"), "{{ x }} {% y");
  EXPECT_EQ(text("a\r\nb\rc"), "a\nb\nc");
}

TEST(Jinja, ExpressionsArePythons) {
  EXPECT_EQ(text("{{ 7 // -2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ -2 ** 2 }} {{ 1e16 }}"),
            "-4 2 3.5 1024 4 1e+16");
  EXPECT_EQ(text("{{ 1 < 2 < 3 and not 2 in [1] }} {{ none or 'x' }} {{ 'a' if false }}|"),
            "True x |");
  EXPECT_EQ(text("{{ 'héllo'[1:-1] }} {{ 'héllo'[::-1] }} {{ [1, 2, 3][-2:] }} {{ 'ab' * 2 }}"),
            "éll olléh [2, 3] abab");
  EXPECT_EQ(text("{{ {'a': [1, 'x', none, true]}, 'it\\'s' }}"),
            "({'a': [1, 'x', None, True]}, \"it's\")");
  EXPECT_EQ(text("{{ 'a' ~ 1 ~ none ~ missing }} {{ \"\\u00e9\\x41\\n\" }}"), "a1None éA\n");
}

TEST(Jinja, StatementsKeepTheirVariablesToThemselves) {
  EXPECT_EQ(text("{% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = 9 %}{% endfor %}{{ x }}"),
            "111");
  EXPECT_EQ(text("{% set ns = namespace(n=0) %}{% for i in range(4) if i % 2 %}{% set ns.n = ns.n "
                 "+ i %}{{ loop.index }}{{ loop.last }},{% endfor %}{{ ns.n }}"),
            "1False,2True,4");
  EXPECT_EQ(text("{% for i in [1, 2, 3, 4] %}{% if i == 2 %}{% continue %}{% elif i == 4 %}"
                 "{% break %}{% endif %}{{ i }}{% else %}none{% endfor %}"),
            "13");
  EXPECT_EQ(text("{% macro f(a, b='B') %}{{ a }}{{ b }}{% endmacro %}{{ f(1) }}{{ f(b=2, a=3) }}"),
            "1B32");
  EXPECT_EQ(text("{% set x | upper %}a{{ n }}{% endset %}{{ x }}{% with y = x %}{{ y }}"
                 "{% endwith %}{{ y }}{% filter trim %} z {% endfilter %}"),
            "A7A7z");
  EXPECT_EQ(text("{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}{{ v }}{% endfor %}"), "a1b2");
  EXPECT_EQ(text("{% generation %}g{% endgeneration %}"), "g");
}

TEST(Jinja, JsonIsLaidOutAsPythonDoes) {
  EXPECT_EQ(text("{{ {'a': [1, 2.0, none], 'é': '\"\\n<'} | tojson }}"),
            R"({"a": [1, 2.0, null], "é": "\"\n<"})");
  EXPECT_EQ(text("{{ {'a': [], 'b': {'c': true}} | tojson(indent=2) }}"),
            "{\n  \"a\": [],\n  \"b\": {\n    \"c\": true\n  }\n}");
  EXPECT_EQ(text("{{ 'é😀' | tojson(ensure_ascii=true) }}"), R"("\u00e9\ud83d\ude00")");
}

TEST(Jinja, WhatIsMissingIsEmptyButHasNoParts) {
  EXPECT_EQ(text("[{{ missing }}{{ messages[0].missing }}{{ messages[9] }}]"), "[]");
  EXPECT_EQ(text("{{ missing is defined }} {{ missing | default('d') }} {{ nothing is none }}"),
            "False d True");
  EXPECT_EQ(error("a\n{{ missing.part }}"),
            "line 2: the attribute \"part\" is asked of \"missing\", which is undefined");
  EXPECT_EQ(error("{{ messages[0].foo() }}"),
            "line 1: \"foo\", which is undefined cannot be called");
  EXPECT_EQ(error("{{ missing + 'a' }}"),
            "line 1: + does not go with \"missing\", which is undefined and a string");
}

TEST(Jinja, ErrorsNameTheLineAndWhatIsWrong) {
  EXPECT_EQ(error("a\n\n{% if n %}x"), "line 3: {% endif %} is missing");
  EXPECT_EQ(error("\n{{ n | nosuch }}"), "line 2: there is no filter \"nosuch\" here");
  EXPECT_EQ(error("{{ n is nosuch }}"), "line 1: there is no test \"nosuch\" here");
  EXPECT_EQ(error("{% include 'x' %}").substr(0, 42),
            "line 1: there is no statement \"include\" he");
  EXPECT_EQ(error("{{ (1 }}"), "line 1: unexpected }; expected )");
  EXPECT_EQ(error("{{ 'a }}"), "line 1: a string has no end");
  EXPECT_EQ(error("{{ 1 + }}"), "line 1: expected an expression, found }}");
  EXPECT_EQ(error("{{ nothing + 'a' }}"), "line 1: + does not go with none and a string");
  EXPECT_EQ(error("{{ raise_exception('roles must alternate') }}"), "roles must alternate");
  EXPECT_EQ(error("{% set messages.x = 1 %}").substr(0, 39),
            "line 1: an attribute is set of \"message");
  EXPECT_EQ(error("{{ messages.append(1) }}"),
            "line 1: a list cannot be changed in a template; a namespace can");
  EXPECT_EQ(error(std::string("\xFF")), "it is not UTF-8");
  EXPECT_EQ(error(std::string(kMaxTemplateBytes + 1, 'a')),
            "it has 262145 bytes; accepted are at most 262144");
}

// A filter that is not known matters only where it is asked for.
TEST(Jinja, AnUnknownFilterInABranchThatIsNotTakenIsNoError) {
  EXPECT_EQ(text("{% if false %}{{ n | nosuch }}{% else %}a{% endif %}"), "a");
  EXPECT_EQ(error("{% if true %}{{ n | nosuch }}{% endif %}"),
            "line 1: there is no filter \"nosuch\" here");
}

std::string nested(const std::string& open, const std::string& inside, const std::string& close,
                   int n) {
  std::string source;
  for (int i = 0; i < n; ++i) source += open;
  source += inside;
  for (int i = 0; i < n; ++i) source += close;
  return source;
}

TEST(Jinja, HostileTemplatesEndWithinTheirLimits) {
  const auto expect = [](const std::string& source, const std::string& part) {
    const std::string said = error(source);
    EXPECT_NE(said.find(part), std::string::npos) << source.substr(0, 80) << ": " << said;
  };
  expect("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}", "steps");
  expect("{% for a in range(1000000) %}{% endfor %}", "100000 elements");
  expect("{{ 'abcdefgh' * 100000000 }}", "bytes");
  expect("{{ [1] * 1000000000 }}", "steps");
  expect(
      "{% set ns = namespace(s='ab') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}"
      "{% endfor %}",
      "more than");
  expect(
      "{% set ns = namespace(l=[1]) %}{% for i in range(99999) %}{% set ns.l = [ns.l] %}"
      "{% endfor %}",
      "deeper than 64");
  expect("{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}", "nested deeper");
  expect("{% set s = 'x' * 1000000 %}{% for i in range(99) %}{{ s }}{% endfor %}", "output");
  expect("{{ 9223372036854775807 + 1 }}", "64 bits");
  expect("{{ 2 ** 4000000000000000000 }}", "64 bits");
  expect("{{ 1 // 0 }}", "division by zero");
  expect("{{ ('a' * 3000000).rfind('a' * 1500000) }}", "steps");
  expect("{{ ('a' * 3000000).rsplit('a' * 1500000 + 'a', 1) }}", "steps");
  expect("{{ " + nested("(", "1", ")", 5000) + " }}", "nested deeper");
  expect("{{ " + nested("[", "", "]", 5000) + " }}", "nested deeper");
  expect("{{ " + nested("not ", "1", "", 50000) + " }}", "nested deeper");
  expect("{{ " + nested("-", "1", "", 100000) + " }}", "nested deeper");
  expect("{{ a" + nested(".b", "", "", 50000) + " }}", "nested deeper");
  expect("{{ a" + nested("|upper", "", "", 40000) + " }}", "nested deeper");
  expect(nested("{% if 1 %}", "", "{% endif %}", 5000), "nested deeper");
  expect("{{ strftime_now('%999999999d') }}", "strftime_now");
  expect("{{ ''.join(messages) }}", "joins strings");
}

TEST(Jinja, ALongSumIsNoNesting) {
  EXPECT_EQ(text("{{ 0" + nested(" + 1", "", "", 2000) + " }}"), "2000");
}

// Origins as a string of one letter a byte: w what the template wrote, d data.
std::string origins(const std::string& source) {
  const auto rendered = render(source);
  if (!rendered) return rendered.error().message;
  std::string letters;
  for (size_t i = 0; i < rendered->size(); ++i) {
    letters += rendered->origin_at(i) == Origin::written ? 'w' : 'd';
  }
  return letters;
}

TEST(Jinja, EveryByteKnowsWhoWroteIt) {
  const std::string ok = "messages[1].content";
  EXPECT_EQ(origins("ab{{ " + ok + " }}c"), "wwddw");
  EXPECT_EQ(origins("{{ 'ab' + " + ok + " + 'c' }}"), "wwddw");
  EXPECT_EQ(origins("{{ ('ab' ~ " + ok + ")[1:] }}"), "wdd");
  EXPECT_EQ(origins("{{ (' a' ~ " + ok + " ~ 'b ') | trim }}"), "wddw");
  EXPECT_EQ(origins("{{ " + ok + " | upper }}{{ 'a' | upper }}"), "ddw");
  EXPECT_EQ(origins("{{ 'xay' | replace('a', " + ok + ") }}"), "wddw");
  EXPECT_EQ(origins("{{ " + ok + " | replace('k', 'xx') }}"), "dww");
  EXPECT_EQ(origins("{{ [" + ok + ", 'a'] | join('--') }}"), "ddwww");
  EXPECT_EQ(origins("{{ (" + ok + " ~ 'abc').split('b') | last }}"), "w");
  EXPECT_EQ(origins("{{ (" + ok + " ~ 'a')[::-1] }}"), "wdd");
  EXPECT_EQ(origins("{{ " + ok + " | tojson }}"), "dddd");
  EXPECT_EQ(origins("{% macro f(x) %}<{{ x }}>{% endmacro %}{{ f(" + ok + ") }}"), "wddw");
  EXPECT_EQ(origins("{% set x %}<{{ " + ok + " }}>{% endset %}{{ x | title }}"), "wddw");
  EXPECT_EQ(origins("{{ 'a{}b'.format(" + ok + ") }}{{ n }}"), "wddwd");
  EXPECT_EQ(origins("{{ ('a\\n' ~ " + ok + ") | indent(1, true) }}"), "dwdddd");
}

}  // namespace
}  // namespace tristill::jinja
