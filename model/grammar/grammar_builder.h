// GrammarBuilder: writes a Grammar from expressions: literals, sets of code points, sequences,
// choices, repetitions, and rules that call each other. One thread. What is too large or wrong is
// remembered and said by build(); until then every call may go on.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/grammar/code_points.h"
#include "model/grammar/grammar.h"

namespace tristill {

class GrammarBuilder {
 public:
  using RuleId = Grammar::RuleId;
  // One expression of this builder; may be used any number of times.
  struct Expr {
    uint32_t index = 0;
  };

  static constexpr size_t kMaxExpressions = 1 << 18;
  static constexpr size_t kMaxLiteralBytes = 1 << 20;  // of all literals
  static constexpr uint32_t kMaxDepth = 200;  // of expressions within expressions
  static constexpr uint32_t kMaxRepeats = 1 << 20;
  static constexpr size_t kMaxRules = 1 << 14;
  static constexpr size_t kMaxStates = 1 << 17;
  static constexpr size_t kMaxEdges = 1 << 18;

  Expr empty();
  Expr nothing();  // no text, not even the empty one
  Expr literal(std::string_view bytes);
  // One of the texts; equal beginnings are shared.
  Expr one_of(std::vector<std::string> texts);
  Expr byte_range(uint8_t low, uint8_t high);
  Expr code_points(const CodePoints& set);  // one of them, in UTF-8
  Expr sequence(std::vector<Expr> parts);
  Expr choice(std::vector<Expr> alternatives);
  Expr repeat(Expr part, uint32_t least, std::optional<uint32_t> most);
  Expr optional(Expr part) { return repeat(part, 0, 1); }

  // A rule may be called before it is defined; its name is for errors.
  RuleId rule(std::string name);
  void define(RuleId rule, Expr body);
  Expr call(RuleId rule);

  // What else is wrong, said by build() in place of all that comes later.
  void fail(Error error);
  bool failed() const { return error_.has_value(); }

  // The grammar of the texts of `root`. Errors: resource_exhausted when it is larger than the
  // limits above; invalid_argument when a rule was called and not defined, calls itself before it
  // has read anything (left recursion), or when no text matches.
  Result<std::shared_ptr<const Grammar>> build(RuleId root);

 private:
  friend class GrammarCompiler;

  enum class Kind : uint8_t { texts, bytes, utf8, sequence, choice, repeat, call };
  struct Expression {
    Kind kind = Kind::sequence;
    uint8_t low = 0, high = 0;  // bytes
    uint32_t least = 0;  // repeat
    std::optional<uint32_t> most;
    uint32_t rule = 0;  // call
    uint32_t depth = 1;
    std::vector<uint32_t> parts;  // sequence, choice; one of repeat
    std::vector<std::string> texts;  // sorted
    std::vector<Utf8Ranges> ranges;  // utf8
  };
  struct Rule {
    std::string name;
    std::optional<uint32_t> body;
  };

  Expr add(Expression expression);
  Expr as_rule(Expr part);
  Expr at_most(Expr part, uint32_t most);
  Expr exactly(Expr part, uint32_t count);

  std::vector<Expression> expressions_;
  std::vector<Rule> rules_;
  std::map<CodePoints, uint32_t> rule_of_set_;
  size_t literal_bytes_ = 0;
  std::optional<Error> error_;
};

}  // namespace tristill
