// Value: what a template computes with. All values are immutable but namespaces and are shared, not
// copied. The words (truth, text, repr) and their results are Python's. Any thread; a namespace and
// a loop belong to one rendering.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "server/jinja/text.h"

namespace tristill::jinja {

class Context;
struct List;
struct Dict;
struct Loop;
struct Function;
struct Namespace;

// A name or an attribute that is not there. name: what was asked for, of the template's own text;
// empty where it was computed.
struct Undefined {
  std::string_view name;
};
struct None {};

using TextPtr = std::shared_ptr<const Text>;
using ListPtr = std::shared_ptr<const List>;
using DictPtr = std::shared_ptr<const Dict>;
using LoopPtr = std::shared_ptr<const Loop>;
using FunctionPtr = std::shared_ptr<const Function>;
using Value = std::variant<Undefined, None, bool, int64_t, double, TextPtr, ListPtr, DictPtr,
                           LoopPtr, FunctionPtr, Namespace*>;

// What a call was given.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

struct List {
  enum class Kind {
    list,
    tuple,
    view,  // of a dictionary: has a length, no positions
    lazy,  // what map, select and their like give: true even when empty, no length, no positions
  };
  std::vector<Value> items;
  Kind kind = Kind::list;
  size_t depth = 1;  // of what is nested in it, itself counted
};

// In order of insertion. Looked through from the front: chats have few keys.
struct Dict {
  std::vector<std::pair<Value, Value>> entries;
  size_t depth = 1;
};

struct Function {
  std::string name;
  std::function<Value(Context&, const Arguments&)> call;
  size_t depth = 1;
};

// The variable "loop"; the statement that runs it moves index.
struct Loop {
  ListPtr items;
  mutable size_t index = 0;
};

// Without limits: for values that come from outside and are bounded there.
Value make_text(std::string_view bytes, Origin origin);
Value make_list(std::vector<Value> items, List::Kind kind = List::Kind::list);
Value make_dict(std::vector<std::pair<Value, Value>> entries);

// What a template makes is paid for. Errors: nested deeper than 64 levels.
Value make_text(Context& context, Text text);
Value make_list(Context& context, std::vector<Value> items, List::Kind kind = List::Kind::list);
Value make_dict(Context& context, std::vector<std::pair<Value, Value>> entries);
Value make_function(std::string name, std::function<Value(Context&, const Arguments&)> call,
                    size_t depth = 1);
size_t depth_of(const Value& value);

inline bool is_undefined(const Value& value) { return std::holds_alternative<Undefined>(value); }
inline bool is_none(const Value& value) { return std::holds_alternative<None>(value); }
// Null when the value is of another type; borrowed from it.
const Text* text_of(const Value& value);
const List* list_of(const Value& value);
const Dict* dict_of(const Value& value);
// Of a list or a tuple, whose elements have positions; null for others.
const List* sequence_of(const Value& value);
// As Python's, where true and false are numbers: of bool and int64_t.
bool is_integer(const Value& value);
bool is_number(const Value& value);
int64_t integer_of(const Value& value);  // of an integer
double number_of(const Value& value);  // of a number

// The type as a message names it: "a string", "none", "a list".
std::string describe(const Value& value);

bool is_true(const Value& value);
bool equals(Context& context, const Value& a, const Value& b);
// a < b. Errors: types that have no order.
bool is_less(Context& context, const Value& a, const Value& b);
// Errors: what Python does not take as a key or an element of a set: lists, dictionaries.
void check_hashable(Context& context, const Value& value);
// Null when there is none. Errors: no key.
const Value* find_key(Context& context, const Dict& dict, const Value& key);
const Value* find_key(Context& context, const Dict& dict, std::string_view key);

// What a for statement goes through: elements, keys, characters. Errors: no such thing.
ListPtr items_of(Context& context, const Value& value);

// str() and repr() of Python. Strings keep their origins; the rest is data.
void append_text(Context& context, const Value& value, Text& out);
Text to_text(Context& context, const Value& value);
void append_repr(Context& context, const Value& value, Text& out);
std::string format_number(double number);

}  // namespace tristill::jinja
