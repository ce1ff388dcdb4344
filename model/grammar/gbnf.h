// GBNF, llama.cpp's text form of a grammar, as a Grammar. A pure function; any thread.
//
//   root  ::= "yes" | "no" answer{1,3}    # literals, alternatives, rules, repetitions
//   answer ::= [a-z0-9] ("," | [^\n])* .?
//
// Names are letters, digits and dashes. Escapes: \n \r \t \\ \" \[ \] \- \^ \xHH \uHHHH \UHHHHHHHH.
// Rules stand on lines of their own; inside parentheses and behind a "|" lines may break.
#pragma once

#include <memory>
#include <string_view>

#include "base/result.h"
#include "model/grammar/grammar.h"

namespace tristill {

constexpr size_t kMaxGbnfBytes = 1 << 18;

// The grammar of the rule "root". Errors: invalid_argument with the line and what is wrong there,
// or with what GrammarBuilder::build says.
Result<std::shared_ptr<const Grammar>> read_gbnf(std::string_view text);

}  // namespace tristill
