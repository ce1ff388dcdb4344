#include "model/grammar/gbnf.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/utf8.h"
#include "model/grammar/code_points.h"
#include "model/grammar/grammar_builder.h"

namespace tristill {
namespace {

using Expr = GrammarBuilder::Expr;

constexpr int kMaxGroups = 60;  // within each other
constexpr uint32_t kMaxCount = 100'000;

bool is_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_';
}

// The first refusal sticks, and reading stops there.
class GbnfReader {
 public:
  explicit GbnfReader(std::string_view text) : text_(text) {}

  Result<std::shared_ptr<const Grammar>> read() {
    skip_blanks(true);
    while (!done()) read_rule();
    const auto root = rules_.find("root");
    if (!error_ && !builder_.failed() && (root == rules_.end() || !root->second.defined))
      refuse("there is no rule root");
    if (error_) return *error_;
    auto grammar = builder_.build(root == rules_.end() ? 0 : root->second.id);
    if (grammar) return grammar;
    return Error{ErrorCode::invalid_argument, grammar.error().message, "grammar"};
  }

 private:
  struct Rule {
    GrammarBuilder::RuleId id = 0;
    bool defined = false;
  };

  bool done() const { return error_ || builder_.failed() || at_ == text_.size(); }
  bool sees(std::string_view what) const { return !error_ && text_.substr(at_).starts_with(what); }
  bool take(std::string_view what) {
    if (!sees(what)) return false;
    at_ += what.size();
    return true;
  }
  void refuse(const std::string& reason) {
    if (error_) return;
    const auto line = 1 + std::count(text_.begin(), text_.begin() + static_cast<long>(at_), '\n');
    error_ = Error{ErrorCode::invalid_argument,
                   "line " + std::to_string(line) + " of the grammar: " + reason, "grammar"};
  }

  // Spaces and comments; with lines, line breaks too.
  void skip_blanks(bool lines) {
    while (!done()) {
      if (sees("#")) at_ = std::min(text_.find_first_of("\r\n", at_), text_.size());
      else if (sees(" ") || sees("\t") || (lines && (sees("\n") || sees("\r")))) ++at_;
      else return;
    }
  }

  Rule& rule_named(const std::string& name) {
    const auto [found, is_new] = rules_.try_emplace(name);
    if (is_new) found->second.id = builder_.rule(name);
    return found->second;
  }

  std::string read_name() {
    const size_t begin = at_;
    while (!done() && is_name(text_[at_])) ++at_;
    if (at_ == begin) refuse("accepted here is the name of a rule");
    return std::string(text_.substr(begin, at_ - begin));
  }

  void read_rule() {
    const std::string name = read_name();
    skip_blanks(false);
    if (!take("::=")) return refuse("accepted behind " + name + " is ::=");
    skip_blanks(true);
    const Expr body = read_alternatives(0);
    skip_blanks(false);
    const bool ended = done() || sees("\n") || sees("\r");
    if (!ended) return refuse("\"" + std::string(text_.substr(at_, 1)) + "\" is not accepted here");
    if (error_) return;
    Rule& rule = rule_named(name);
    if (rule.defined) return refuse("the rule " + name + " is defined twice");
    rule.defined = true;
    builder_.define(rule.id, body);
    skip_blanks(true);
  }

  Expr read_alternatives(int depth) {
    std::vector<Expr> alternatives = {read_sequence(depth)};
    while (take("|")) {
      skip_blanks(true);
      alternatives.push_back(read_sequence(depth));
    }
    return builder_.choice(std::move(alternatives));
  }

  Expr read_sequence(int depth) {
    std::vector<Expr> parts;
    while (!done()) {
      const char c = text_[at_];
      if (c != '"' && c != '[' && c != '(' && c != '.' && !is_name(c)) break;
      if (c == '"') parts.push_back(read_repeated(read_literal()));
      else if (c == '[') parts.push_back(read_repeated(read_class()));
      else if (c == '(') parts.push_back(read_repeated(read_group(depth)));
      else if (take(".")) parts.push_back(read_repeated(builder_.code_points(CodePoints::all())));
      else parts.push_back(read_repeated(builder_.call(rule_named(read_name()).id)));
      skip_blanks(depth > 0);
    }
    return builder_.sequence(std::move(parts));
  }

  Expr read_group(int depth) {
    take("(");
    if (depth >= kMaxGroups) refuse("parentheses are nested too deep");
    skip_blanks(true);
    const Expr inner = error_ ? builder_.empty() : read_alternatives(depth + 1);
    skip_blanks(true);
    if (!take(")")) refuse("a parenthesis has no end");
    return inner;
  }

  Expr read_literal() {
    take("\"");
    std::string bytes;
    while (!done() && !sees("\"") && !sees("\n")) {
      const size_t begin = at_;
      const bool escaped = sees("\\");
      const uint32_t c = read_character();
      if (escaped) append(c, bytes);
      else bytes += text_.substr(begin, at_ - begin);
    }
    if (!take("\"")) refuse("a literal has no end on its line");
    return builder_.literal(bytes);
  }

  static void append(uint32_t c, std::string& bytes) {
    const CodePoints one = {{c, c}};
    for (const Utf8Ranges& ranges : one.utf8()) {
      for (size_t i = 0; i < ranges.size; ++i) bytes += static_cast<char>(ranges.bytes[i].low);
    }
  }

  Expr read_class() {
    take("[");
    CodePoints set;
    const bool negated = take("^");
    while (!done() && !sees("]") && !sees("\n")) {
      const uint32_t low = read_character();
      uint32_t high = low;
      if (sees("-") && !sees("-]")) {
        take("-");
        if (!done()) high = read_character();
      }
      if (low > high) refuse("a range of characters runs backwards");
      set.add(low, high);
    }
    if (!take("]")) refuse("a class of characters has no end on its line");
    return builder_.code_points(negated ? set.complement() : set);
  }

  uint32_t read_character() {
    if (!take("\\")) return next_code_point(text_, at_);
    if (done()) {
      refuse("an escape has no end");
      return 0;
    }
    const char c = text_[at_++];
    switch (c) {
      case 'n': return '\n';
      case 'r': return '\r';
      case 't': return '\t';
      case 'x': return read_hex(2);
      case 'u': return read_hex(4);
      case 'U': return read_hex(8);
      default: break;
    }
    if (std::string_view("\\\"[]-^").find(c) == std::string_view::npos) {
      refuse(
          "an escape is not known; accepted are \\n \\r \\t \\\\ \\\" \\[ \\] \\- \\^ \\xHH "
          "\\uHHHH \\UHHHHHHHH");
    }
    return static_cast<uint8_t>(c);
  }

  uint32_t read_hex(int n_digits) {
    uint32_t value = 0;
    for (int i = 0; i < n_digits; ++i, ++at_) {
      const size_t digit = done() ? std::string_view::npos
                                  : std::string_view("0123456789abcdefABCDEF").find(text_[at_]);
      if (digit == std::string_view::npos) {
        refuse("an escape lacks hexadecimal digits");
        return 0;
      }
      value = value << 4 | static_cast<uint32_t>(digit < 16 ? digit : digit - 6);
    }
    if (value > CodePoints::kLast || (value >= 0xD800 && value < 0xE000)) {
      refuse("an escape names no character");
    }
    return value;
  }

  Expr read_repeated(Expr part) {
    while (!done()) {
      if (take("*")) part = builder_.repeat(part, 0, std::nullopt);
      else if (take("+")) part = builder_.repeat(part, 1, std::nullopt);
      else if (take("?")) part = builder_.optional(part);
      else if (take("{")) part = read_counted(part);
      else break;
    }
    return part;
  }

  // Behind "{".
  Expr read_counted(Expr part) {
    const uint32_t least = read_count();
    std::optional<uint32_t> most = least;
    if (take(",")) {
      most.reset();
      if (!sees("}")) most = read_count();
    }
    if (!take("}")) refuse("accepted repetitions are {n}, {n,} and {n,m}");
    if (most && *most < least) refuse("a repetition counts downwards");
    return error_ ? part : builder_.repeat(part, least, most);
  }

  uint32_t read_count() {
    uint32_t count = 0;
    const size_t begin = at_;
    for (; !done() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
      count = count * 10 + static_cast<uint32_t>(text_[at_] - '0');
      if (count > kMaxCount) refuse("a repetition is above 100000");
    }
    if (at_ == begin) refuse("accepted repetitions are {n}, {n,} and {n,m}");
    return count;
  }

  std::string_view text_;
  size_t at_ = 0;
  GrammarBuilder builder_;
  std::map<std::string, Rule> rules_;
  std::optional<Error> error_;
};

}  // namespace

Result<std::shared_ptr<const Grammar>> read_gbnf(std::string_view text) {
  const auto refused = [](std::string message) {
    return Error{ErrorCode::invalid_argument, std::move(message), "grammar"};
  };
  if (text.size() > kMaxGbnfBytes) {
    return refused("the grammar has " + std::to_string(text.size()) +
                   " bytes; accepted are up to " + std::to_string(kMaxGbnfBytes));
  }
  if (!utf8_is_valid(text)) return refused("the grammar is not valid UTF-8");
  return GbnfReader(text).read();
}

}  // namespace tristill
