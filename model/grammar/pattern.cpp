#include "model/grammar/pattern.h"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

namespace tristill {
namespace {

using Expr = GrammarBuilder::Expr;

constexpr int kMaxGroups = 30;  // within each other
constexpr uint32_t kMaxCount = 100'000;

CodePoints digits() { return {{'0', '9'}}; }
CodePoints word_characters() { return {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}; }
CodePoints line_ends() { return {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}}; }
// ECMA-262, WhiteSpace and LineTerminator.
CodePoints spaces() {
  CodePoints set = {{'\t', '\r'},     {' ', ' '},       {0xA0, 0xA0},
                    {0x1680, 0x1680}, {0x2000, 0x200A}, {0x202F, 0x202F},
                    {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
  set.add(line_ends());
  return set;
}

std::optional<uint32_t> hex_value(char c) {
  if (c >= '0' && c <= '9') return static_cast<uint32_t>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<uint32_t>(c - 'a' + 10);
  if (c >= 'A' && c <= 'F') return static_cast<uint32_t>(c - 'A' + 10);
  return std::nullopt;
}

// The first refusal sticks, and reading stops there.
class PatternReader {
 public:
  PatternReader(GrammarBuilder& builder, std::string_view pattern, const PatternSpelling& spelling)
      : builder_(builder), pattern_(pattern), spelling_(spelling) {}

  Result<Expr> read() {
    std::vector<Expr> alternatives;
    do {
      std::vector<Expr> parts;
      if (take('^')) parts.push_back(builder_.empty());
      else parts.push_back(spelling_.anything);
      parts.push_back(read_sequence(0));
      if (!take('$')) parts.push_back(spelling_.anything);
      alternatives.push_back(builder_.sequence(std::move(parts)));
    } while (take('|'));
    if (!error_ && at_ < pattern_.size()) refuse_next();
    if (error_) return *error_;
    return builder_.choice(std::move(alternatives));
  }

 private:
  bool done() const { return error_ || at_ == pattern_.size(); }
  bool sees(std::string_view text) const {
    return !error_ && pattern_.substr(at_).starts_with(text);
  }
  bool take(char c) {
    if (!sees({&c, 1})) return false;
    ++at_;
    return true;
  }
  void refuse(std::string_view part, std::string_view reason) {
    if (error_) return;
    error_ = Error{ErrorCode::invalid_argument,
                   '"' + std::string(part) + "\" at byte " + std::to_string(at_) +
                       " of a pattern " + std::string(reason) +
                       "; accepted are literals, classes, groups, alternatives and repetitions, "
                       "with ^ and $ at the ends",
                   "pattern"};
  }
  void refuse_next() { refuse(pattern_.substr(at_, 1), "is not accepted here"); }

  Expr read_alternatives(int depth) {
    std::vector<Expr> alternatives = {read_sequence(depth)};
    while (take('|')) alternatives.push_back(read_sequence(depth));
    return builder_.choice(std::move(alternatives));
  }

  Expr read_sequence(int depth) {
    std::vector<Expr> parts;
    while (!done() && !sees("|") && !sees(")") && !sees("$")) {
      parts.push_back(read_repeated(read_atom(depth)));
    }
    return builder_.sequence(std::move(parts));
  }

  Expr read_atom(int depth) {
    if (sees("(")) return read_group(depth);
    if (take('[')) return spelling_.character(read_class());
    if (take('.')) return spelling_.character(line_ends().complement());
    if (take('\\')) return spelling_.character(read_escape(false));
    if (std::string_view("^*+?{}]").find(pattern_[at_]) != std::string_view::npos) {
      refuse_next();
      return builder_.empty();
    }
    const uint32_t literal = next_code_point(pattern_, at_);
    return spelling_.character({{literal, literal}});
  }

  Expr read_group(int depth) {
    take('(');
    if (depth >= kMaxGroups) refuse("(", "is nested too deep");
    if (sees("?:")) {
      at_ += 2;
    } else if (sees("?<") && !sees("?<=") && !sees("?<!")) {
      const size_t end = pattern_.find('>', at_);
      if (end == std::string_view::npos) refuse("(?<", "has no end");
      else at_ = end + 1;
    } else if (sees("?")) {
      refuse("(" + std::string(pattern_.substr(at_, 2)), "is an assertion or a flag");
    }
    const Expr inner = error_ ? builder_.empty() : read_alternatives(depth + 1);
    if (!take(')')) refuse("(", "has no end, or holds ^ or $");
    return inner;
  }

  Expr read_repeated(Expr atom) {
    uint32_t least = 1;
    std::optional<uint32_t> most = 1;
    if (take('*')) {
      least = 0;
      most.reset();
    } else if (take('+')) {
      most.reset();
    } else if (take('?')) {
      least = 0;
    } else if (take('{')) {
      least = read_count();
      most = least;
      if (take(',')) {
        most.reset();
        if (!sees("}")) most = read_count();
      }
      if (!take('}')) refuse("{", "is no repetition {n}, {n,} or {n,m}");
      if (most && *most < least) refuse("{", "counts downwards");
    } else {
      return atom;
    }
    take('?');  // fewest first: the same texts
    if (sees("+") || sees("*") || sees("?") || sees("{")) refuse_next();
    return error_ ? builder_.empty() : builder_.repeat(atom, least, most);
  }

  uint32_t read_count() {
    uint32_t count = 0;
    const size_t begin = at_;
    for (; !done() && pattern_[at_] >= '0' && pattern_[at_] <= '9'; ++at_) {
      count = count * 10 + static_cast<uint32_t>(pattern_[at_] - '0');
      if (count > kMaxCount) refuse("{", "repeats more than 100000 times");
    }
    if (at_ == begin) refuse("{", "is no repetition {n}, {n,} or {n,m}");
    return count;
  }

  // Behind "[".
  CodePoints read_class() {
    CodePoints set;
    const bool negated = take('^');
    while (!done() && !sees("]")) {
      const CodePoints first = read_member();
      if (!sees("-") || sees("-]")) {
        set.add(first);
        continue;
      }
      take('-');
      const CodePoints last = done() ? CodePoints() : read_member();
      const auto single = [](const CodePoints& some) {
        return some.ranges().size() == 1 && some.ranges()[0].low == some.ranges()[0].high;
      };
      if (!single(first) || !single(last) || first.ranges()[0].low > last.ranges()[0].low) {
        refuse("-", "has no range of characters around it");
        break;
      }
      set.add(first.ranges()[0].low, last.ranges()[0].low);
    }
    if (!take(']')) refuse("[", "has no end");
    return negated ? set.complement() : set;
  }

  CodePoints read_member() {
    if (take('\\')) return read_escape(true);
    const uint32_t literal = next_code_point(pattern_, at_);
    return {{literal, literal}};
  }

  // Behind "\".
  CodePoints read_escape(bool in_class) {
    if (done()) {
      refuse("\\", "escapes nothing");
      return {};
    }
    const uint32_t c = next_code_point(pattern_, at_);
    switch (c) {
      case 'd': return digits();
      case 'D': return digits().complement();
      case 'w': return word_characters();
      case 'W': return word_characters().complement();
      case 's': return spaces();
      case 'S': return spaces().complement();
      case 't': return {{'\t', '\t'}};
      case 'n': return {{'\n', '\n'}};
      case 'r': return {{'\r', '\r'}};
      case 'f': return {{'\f', '\f'}};
      case 'v': return {{'\v', '\v'}};
      case '0': return {{0, 0}};
      case 'x': return read_hex(2);
      case 'u': return read_unicode();
      default: break;
    }
    if (c == 'b' && in_class) return {{'\b', '\b'}};
    const bool meaningful =
        (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    if (meaningful) {
      refuse("\\" + std::string(1, static_cast<char>(c)),
             c <= '9' ? "refers to a group" : "is no escape of a character or a class");
    }
    return {{c, c}};
  }

  uint32_t read_digits(int n) {
    uint32_t value = 0;
    for (int i = 0; i < n; ++i, ++at_) {
      const auto digit = done() ? std::nullopt : hex_value(pattern_[at_]);
      if (!digit) {
        refuse("\\", "lacks hexadecimal digits");
        return 0;
      }
      value = value << 4 | *digit;
    }
    return value;
  }

  CodePoints read_hex(int n) {
    const uint32_t c = read_digits(n);
    return {{c, c}};
  }

  // XXXX, two of them for what lies beyond U+FFFF, or {X...}.
  CodePoints read_unicode() {
    uint32_t c = 0;
    if (take('{')) {
      int n = 0;
      for (; !done() && hex_value(pattern_[at_]) && n < 6; ++n) c = c << 4 | read_digits(1);
      if (n == 0 || !take('}') || c > CodePoints::kLast) refuse("\\u{", "names no character");
    } else {
      c = read_digits(4);
      if (c >= 0xD800 && c < 0xDC00 && sees("\\u")) {
        at_ += 2;
        const uint32_t low = read_digits(4);
        if (low < 0xDC00 || low > 0xDFFF) refuse("\\u", "is half a character");
        c = 0x10000 + ((c - 0xD800) << 10) + (low & 0x3FF);
      }
    }
    if (c >= 0xD800 && c < 0xE000) refuse("\\u", "is half a character");
    return {{c, c}};
  }

  GrammarBuilder& builder_;
  std::string_view pattern_;
  const PatternSpelling& spelling_;
  size_t at_ = 0;
  std::optional<Error> error_;
};

}  // namespace

Result<GrammarBuilder::Expr> read_pattern(GrammarBuilder& builder, std::string_view pattern,
                                          const PatternSpelling& spelling) {
  return PatternReader(builder, pattern, spelling).read();
}

}  // namespace tristill
