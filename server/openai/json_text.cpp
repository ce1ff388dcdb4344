#include "server/openai/json_text.h"

#include <algorithm>
#include <map>

#include "base/check.h"

namespace tristill::openai {
namespace {

constexpr uint32_t kDigits = 16;  // of a number
constexpr uint32_t kIntegerDigits = 18;
constexpr uint32_t kRangeDecimals = 6;  // in a range: with 9 digits before them, exact in a double
constexpr CodePointRange kControl = {0, 0x1F};

std::string hex4(uint32_t code_point) {
  constexpr char kHex[] = "0123456789abcdef";
  return {'\\', 'u', '0', '0', kHex[code_point >> 4 & 15], kHex[code_point & 15]};
}

// Characters that a string must escape, with their short escapes where they have one.
const std::map<uint32_t, std::string>& escapes() {
  static const auto made = [] {
    std::map<uint32_t, std::string> all;
    for (uint32_t c = kControl.low; c <= kControl.high; ++c) all[c] = hex4(c);
    for (const auto& [c, letter] : {std::pair{'"', '"'},
                                    {'\\', '\\'},
                                    {'\b', 'b'},
                                    {'\f', 'f'},
                                    {'\n', 'n'},
                                    {'\r', 'r'},
                                    {'\t', 't'}}) {
      all[static_cast<uint32_t>(c)] = {'\\', letter};
    }
    return all;
  }();
  return made;
}

CodePoints escaped_characters() { return {kControl, {'"', '"'}, {'\\', '\\'}}; }

}  // namespace

std::string json_spelling(std::string_view text) {
  std::string spelled = "\"";
  for (const char c : text) {
    const auto escape = escapes().find(static_cast<uint8_t>(c));
    if (escape == escapes().end()) spelled += c;
    else spelled += escape->second;
  }
  return spelled + '"';
}

template <class Write>
JsonText::Expr JsonText::once(std::optional<RuleId>& rule, const char* name, Write write) {
  if (!rule) {
    rule = b_.rule(name);
    b_.define(*rule, write());
  }
  return b_.call(*rule);
}

JsonText::Expr JsonText::gap() {
  return once(gap_, "whitespace", [&] {
    const Expr indent =
        b_.choice({b_.repeat(b_.literal(" "), 0, 32), b_.repeat(b_.literal("\t"), 1, 8)});
    return b_.choice({b_.empty(), b_.literal(" "), b_.sequence({b_.literal("\n"), indent})});
  });
}

JsonText::Expr JsonText::colon() {
  return b_.sequence({b_.literal(":"), b_.optional(b_.literal(" "))});
}

JsonText::Expr JsonText::comma() { return b_.sequence({b_.literal(","), gap()}); }

JsonText::Expr JsonText::character() {
  return once(character_, "a character of a string", [&] {
    const Expr hex = b_.code_points({{'0', '9'}, {'A', 'F'}, {'a', 'f'}});
    const Expr d = b_.code_points({{'D', 'D'}, {'d', 'd'}});
    const auto unit = [&](Expr first, Expr second) {
      return b_.sequence({b_.literal("\\u"), first, second, hex, hex});
    };
    const Expr not_d = b_.code_points({{'0', '9'}, {'A', 'C'}, {'E', 'F'}, {'a', 'c'}, {'e', 'f'}});
    const Expr high = unit(d, b_.code_points({{'8', '9'}, {'A', 'B'}, {'a', 'b'}}));
    const Expr low = unit(d, b_.code_points({{'C', 'F'}, {'c', 'f'}}));
    return b_.choice({b_.code_points(escaped_characters().complement()),
                      b_.one_of({"\\\"", "\\\\", "\\/", "\\b", "\\f", "\\n", "\\r", "\\t"}),
                      unit(not_d, hex), unit(d, b_.code_points({{'0', '7'}})),
                      b_.sequence({high, low})});
  });
}

JsonText::Expr JsonText::characters() { return b_.repeat(character(), 0, std::nullopt); }

JsonText::Expr JsonText::string(uint32_t least, std::optional<uint32_t> most) {
  const auto write = [&] {
    return b_.sequence({b_.literal("\""), b_.repeat(character(), least, most), b_.literal("\"")});
  };
  if (least > 0 || most) return write();
  return once(string_, "a string", write);
}

JsonText::Expr JsonText::spelled(const CodePoints& set) {
  std::vector<std::string> written;
  for (const auto& [code_point, escape] : escapes()) {
    if (set.contains(code_point)) written.push_back(escape);
  }
  return b_.choice({b_.code_points(set.without(escaped_characters())), b_.one_of(written)});
}

// A trie of the texts, by characters: at each of its nodes every other character leads out of it.
JsonText::Expr JsonText::string_other_than(std::vector<std::string> texts) {
  const Expr rest = b_.repeat(spelled(CodePoints::all()), 0, std::nullopt);
  const auto rest_rule = b_.rule("the rest of a name");
  b_.define(rest_rule, rest);
  struct Node {
    std::map<uint32_t, size_t> next;
    bool is_text = false;
  };
  std::vector<Node> nodes(1);
  for (const std::string& text : texts) {
    size_t node = 0;
    for (size_t at = 0; at < text.size();) {
      const uint32_t c = next_code_point(text, at);
      const auto [found, is_new] = nodes[node].next.emplace(c, nodes.size());
      node = found->second;
      if (is_new) nodes.emplace_back();
    }
    nodes[node].is_text = true;
  }
  std::vector<RuleId> rules;
  for (size_t i = 0; i < nodes.size(); ++i) rules.push_back(b_.rule("a name"));
  for (size_t i = 0; i < nodes.size(); ++i) {
    CodePoints others = CodePoints::all();
    std::vector<Expr> ways;
    CodePoints known;
    for (const auto& [c, next] : nodes[i].next) {
      known.add(c, c);
      ways.push_back(b_.sequence({spelled({{c, c}}), b_.call(rules[next])}));
    }
    ways.push_back(b_.sequence({spelled(others.without(known)), b_.call(rest_rule)}));
    if (!nodes[i].is_text) ways.push_back(b_.empty());
    b_.define(rules[i], b_.choice(ways));
  }
  return b_.sequence({b_.literal("\""), b_.call(rules[0]), b_.literal("\"")});
}

JsonText::Expr JsonText::member(Expr key, Expr value) { return b_.sequence({key, colon(), value}); }

JsonText::Expr JsonText::list(char open, Expr item, char close, uint32_t least,
                              std::optional<uint32_t> most) {
  const Expr end = b_.literal({&close, 1});
  const Expr begin = b_.sequence({b_.literal({&open, 1}), gap()});
  if (most == 0U) return b_.sequence({begin, end});
  const Expr another = b_.sequence({comma(), item});
  std::optional<uint32_t> others;
  if (most) others = *most - 1;
  const Expr some =
      b_.sequence({item, b_.repeat(another, std::max(least, 1U) - 1, others), gap(), end});
  return b_.sequence({begin, least > 0 ? some : b_.choice({end, some})});
}

JsonText::Expr JsonText::any_object() {
  return once(object_, "an object",
              [&] { return list('{', member(any_string(), any_value()), '}', 0, std::nullopt); });
}

JsonText::Expr JsonText::any_array() {
  return once(array_, "an array", [&] { return list('[', any_value(), ']', 0, std::nullopt); });
}

JsonText::Expr JsonText::any_value() {
  if (value_) return b_.call(*value_);
  value_ = b_.rule("a value");  // objects and arrays call it
  b_.define(*value_, b_.choice({any_object(), any_array(), any_string(), number(),
                                b_.one_of({"true", "false", "null"})}));
  return b_.call(*value_);
}

JsonText::Expr JsonText::digits(uint32_t least, uint32_t most) {
  return b_.repeat(b_.byte_range('0', '9'), least, most);
}

JsonText::Expr JsonText::integer() {
  return once(integer_, "an integer", [&] { return integer_between(std::nullopt, std::nullopt); });
}

JsonText::Expr JsonText::number() {
  return once(number_, "a number", [&] {
    const Expr whole = b_.choice(
        {b_.literal("0"), b_.sequence({b_.byte_range('1', '9'), digits(0, kDigits - 1)})});
    const Expr decimals = b_.sequence({b_.literal("."), digits(1, kDigits)});
    const Expr exponent =
        b_.sequence({b_.one_of({"e", "E"}), b_.one_of({"", "+", "-"}), digits(1, 2)});
    return b_.sequence(
        {b_.optional(b_.literal("-")), whole, b_.optional(decimals), b_.optional(exponent)});
  });
}

// Digits that spell a number from low to high, both of the same length.
JsonText::Expr JsonText::same_length(const std::string& low, const std::string& high) {
  if (low.empty()) return b_.empty();
  const auto n_rest = static_cast<uint32_t>(low.size() - 1);
  const std::string zeros(n_rest, '0'), nines(n_rest, '9');
  const std::string low_rest = low.substr(1), high_rest = high.substr(1);
  const auto first = [](char a, char b) {
    return std::pair{static_cast<uint8_t>(a), static_cast<uint8_t>(b)};
  };
  auto [from, to] = first(low[0], high[0]);
  if (from == to) {
    return b_.sequence({b_.byte_range(from, to), same_length(low_rest, high_rest)});
  }
  std::vector<Expr> ways;
  if (low_rest != zeros) {
    ways.push_back(b_.sequence({b_.byte_range(from, from), same_length(low_rest, nines)}));
    ++from;
  }
  if (high_rest != nines) {
    ways.push_back(b_.sequence({b_.byte_range(to, to), same_length(zeros, high_rest)}));
    --to;
  }
  if (from <= to) ways.push_back(b_.sequence({b_.byte_range(from, to), digits(n_rest, n_rest)}));
  return b_.choice(ways);
}

// A whole number from low (0 or more) to high, without a sign.
JsonText::Expr JsonText::magnitude(int64_t low, std::optional<int64_t> high) {
  CHECK(low >= 0 && (!high || low <= *high));
  const std::string first = std::to_string(low);
  const auto longest = static_cast<uint32_t>(high ? std::to_string(*high).size() : kIntegerDigits);
  const auto shortest = static_cast<uint32_t>(first.size());
  const std::string last = high ? std::to_string(*high) : std::string(longest, '9');
  if (shortest == longest) return same_length(first, last);
  std::vector<Expr> ways = {same_length(first, std::string(shortest, '9'))};
  // All lengths between are one: to tell them apart would be many ways to read the same digits.
  const uint32_t below = high ? longest - 1 : longest;
  if (below > shortest) {
    ways.push_back(b_.sequence({b_.byte_range('1', '9'), digits(shortest, below - 1)}));
  }
  if (high) ways.push_back(same_length('1' + std::string(longest - 1, '0'), last));
  return b_.choice(ways);
}

JsonText::Expr JsonText::integer_between(std::optional<int64_t> low, std::optional<int64_t> high) {
  std::vector<Expr> ways;
  if (!high || *high >= 0) ways.push_back(magnitude(std::max<int64_t>(low.value_or(0), 0), high));
  if (!low || *low < 0) {
    std::optional<int64_t> most;
    if (low) most = -*low;
    const int64_t least = high && *high < 0 ? -*high : 1;
    ways.push_back(b_.sequence({b_.literal("-"), magnitude(least, most)}));
  }
  return b_.choice(ways);
}

// From low (0 or more) to high, without a sign: whole numbers with decimals behind all of them but
// the last, and behind an excluded first one decimals that are not all zero.
JsonText::Expr JsonText::decimal(NumberBound low, std::optional<NumberBound> high) {
  const Expr point = b_.literal(".");
  std::vector<Expr> ways;
  const int64_t first = low.value + (low.excluded ? 1 : 0);
  if (!high || first < high->value) {
    std::optional<int64_t> last;
    if (high) last = high->value - 1;
    ways.push_back(b_.sequence(
        {magnitude(first, last), b_.optional(b_.sequence({point, digits(1, kRangeDecimals)}))}));
  }
  if (low.excluded && (!high || low.value < high->value)) {
    ways.push_back(b_.sequence({magnitude(low.value, low.value), point,
                                digits(0, kRangeDecimals - 1), b_.byte_range('1', '9')}));
  }
  if (high && !high->excluded && (high->value > low.value || !low.excluded)) {
    ways.push_back(magnitude(high->value, high->value));
  }
  return b_.choice(ways);
}

JsonText::Expr JsonText::number_between(std::optional<NumberBound> low,
                                        std::optional<NumberBound> high) {
  const auto negated = [](NumberBound bound) { return NumberBound{-bound.value, bound.excluded}; };
  const NumberBound zero{};
  std::vector<Expr> ways;
  if (!high || high->value > 0 || (high->value == 0 && !high->excluded)) {
    const bool from_zero = !low || low->value < 0;
    ways.push_back(decimal(from_zero ? zero : *low, high));
  }
  if (!low || low->value < 0) {
    // Zero itself, where it is in the range, has no sign.
    const NumberBound least = high && high->value < 0 ? negated(*high) : NumberBound{0, true};
    std::optional<NumberBound> most;
    if (low) most = negated(*low);
    ways.push_back(b_.sequence({b_.literal("-"), decimal(least, most)}));
  }
  return b_.choice(ways);
}

}  // namespace tristill::openai
