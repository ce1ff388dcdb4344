// The syntax tree of a template: what parser.h makes and interpreter.h walks. Immutable once made:
// any thread. An expression's depth is bounded, so that walking and freeing it are too.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "server/jinja/filters.h"
#include "server/jinja/operations.h"
#include "server/jinja/predicates.h"
#include "server/jinja/value.h"

namespace tristill::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<const Expression>;  // null: left out

struct CallArguments {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
};

struct Constant {
  Value value;
};
struct Name {
  std::string name;
};
struct ListDisplay {
  std::vector<ExpressionPtr> items;
  List::Kind kind;
};
struct DictDisplay {
  std::vector<std::pair<ExpressionPtr, ExpressionPtr>> entries;
};
struct Attribute {
  ExpressionPtr object;
  std::string name;
};
struct Subscript {
  ExpressionPtr object, key;
};
struct Slice {
  ExpressionPtr object, begin, end, step;
};
struct Call {
  ExpressionPtr function;
  CallArguments arguments;
};
struct Filtered {
  ExpressionPtr input;  // null: the output of a block
  Filter filter;  // null: there is none of that name
  CallArguments arguments;
  std::string name;
};
struct Tested {
  ExpressionPtr input;
  Predicate predicate;  // null: there is none of that name
  CallArguments arguments;
  std::string name;
};
struct Negation {
  ExpressionPtr operand;
};
struct Signed {
  ExpressionPtr operand;
  bool is_minus;
};
// first, then one operation after the other: of one precedence, from the left.
struct Arithmetic {
  ExpressionPtr first;
  std::vector<std::pair<Operator, ExpressionPtr>> rest;
};
struct Concatenation {
  std::vector<ExpressionPtr> parts;
};
// a < b < c: each with its neighbour.
struct Comparison {
  ExpressionPtr first;
  std::vector<std::pair<Relation, ExpressionPtr>> rest;
};
struct Logic {
  std::vector<ExpressionPtr> operands;
  bool is_and;
};
struct Choice {
  ExpressionPtr condition, then, otherwise;
};

struct Expression {
  int line = 1;
  int depth = 1;
  std::variant<Constant, Name, ListDisplay, DictDisplay, Attribute, Subscript, Slice, Call,
               Filtered, Tested, Negation, Signed, Arithmetic, Concatenation, Comparison, Logic,
               Choice>
      form;
};

// What is assigned to: a name, several names that share out a sequence, or namespace.attribute.
struct Target {
  std::vector<std::string> names;
  std::string attribute;  // not empty: of the namespace names[0]
  bool is_tuple = false;
};

struct Statement;
using Block = std::vector<Statement>;

struct Output {
  Value text;
};
struct Print {
  ExpressionPtr value;
};
struct Assignment {
  Target target;
  ExpressionPtr value;
};
struct BlockAssignment {
  Target target;
  Block body;
  ExpressionPtr filter;  // null: none
};
struct Conditional {
  std::vector<std::pair<ExpressionPtr, Block>> branches;
  Block otherwise;
};
struct ForLoop {
  Target target;
  ExpressionPtr items;
  ExpressionPtr filter;  // null: none
  Block body;
  Block otherwise;
  bool uses_loop = false;  // its parts name the variable "loop"
};
struct Parameter {
  std::string name;
  ExpressionPtr fallback;  // null: none
};
struct Macro {
  std::string name;
  std::vector<Parameter> parameters;
  Block body;
};
struct FilterBlock {
  ExpressionPtr filter;
  Block body;
};
// A block with variables of its own: with, generation.
struct ScopeBlock {
  std::vector<std::pair<Target, ExpressionPtr>> assignments;
  Block body;
};
struct LoopControl {
  bool is_break;
};

struct Statement {
  int line = 1;
  std::variant<Output, Print, Assignment, BlockAssignment, Conditional, ForLoop, Macro, FilterBlock,
               ScopeBlock, LoopControl>
      form;
};

}  // namespace tristill::jinja
