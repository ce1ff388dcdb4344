// Operators on values: arithmetic, comparison, subscripts and slices, by Python's rules on 64-bit
// integers. Pure but for what they pay in Context. Errors: types that do not go together, a result
// beyond 64 bits, a division by zero.
#pragma once

#include "server/jinja/context.h"
#include "server/jinja/value.h"

namespace tristill::jinja {

enum class Operator { add, subtract, multiply, divide, floor_divide, modulo, power };
enum class Relation { equal, not_equal, less, less_equal, greater, greater_equal, in, not_in };

Value calculate(Context& context, const Value& a, Operator op, const Value& b);
bool holds(Context& context, const Value& a, Relation relation, const Value& b);
Value negative(Context& context, const Value& value);

// Errors: no such thing.
int64_t length_of(Context& context, const Value& value);

// object[key]; an undefined value when there is none. A method under its name when there is no such
// key. Errors: object is undefined.
Value element(Context& context, const Value& object, const Value& key);
// object.name: a method first, then a key.
Value attribute(Context& context, const Value& object, std::string_view name);
// "a.b.0", as filters name attributes.
Value attribute_path(Context& context, const Value& object, const Value& path);

// object[begin:end:step]; none where left out.
struct SliceBounds {
  Value begin = None{}, end = None{}, step = None{};
};
Value slice(Context& context, const Value& object, const SliceBounds& bounds);

}  // namespace tristill::jinja
