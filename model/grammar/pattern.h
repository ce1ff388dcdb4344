// Regular expressions (ECMA-262's syntax) as expressions of a grammar: what they match, not how.
// Literals, classes, groups, alternatives and counted repetitions; `^` and `$` at the ends of the
// whole or of its outermost alternatives. Back references, assertions and properties are refused.
#pragma once

#include <functional>
#include <string_view>

#include "base/result.h"
#include "model/grammar/code_points.h"
#include "model/grammar/grammar_builder.h"

namespace tristill {

struct PatternSpelling {
  // How one of some code points is written in the text that is matched.
  std::function<GrammarBuilder::Expr(const CodePoints&)> character;
  // Any text: what stands before a pattern without `^` and behind one without `$`.
  GrammarBuilder::Expr anything;
};

// Errors: invalid_argument, naming the part that is not accepted. The pattern is valid UTF-8.
Result<GrammarBuilder::Expr> read_pattern(GrammarBuilder& builder, std::string_view pattern,
                                          const PatternSpelling& spelling);

}  // namespace tristill
