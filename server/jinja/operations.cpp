#include "server/jinja/operations.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "server/jinja/characters.h"
#include "server/jinja/methods.h"

namespace tristill::jinja {
namespace {

const char* symbol_of(Operator op) {
  switch (op) {
    case Operator::add: return "+";
    case Operator::subtract: return "-";
    case Operator::multiply: return "*";
    case Operator::divide: return "/";
    case Operator::floor_divide: return "//";
    case Operator::modulo: return "%";
    case Operator::power: return "**";
  }
  return "";
}

[[noreturn]] void fail_types(Context& context, const Value& a, Operator op, const Value& b) {
  context.fail(std::string(symbol_of(op)) + " does not go with " + describe(a) + " and " +
               describe(b));
}

[[noreturn]] void fail_overflow(Context& context) { context.fail("an integer is beyond 64 bits"); }

int64_t floor_quotient(int64_t a, int64_t b) {
  const int64_t quotient = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

Value integer_power(Context& context, int64_t base, int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) context.fail("zero has no negative power");
    return std::pow(static_cast<double>(base), static_cast<double>(exponent));
  }
  int64_t result = 1;
  for (; exponent > 0; exponent >>= 1) {
    context.step();
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result))
      fail_overflow(context);
    if (exponent > 1 && __builtin_mul_overflow(base, base, &base)) fail_overflow(context);
  }
  return result;
}

Value of_integers(Context& context, int64_t a, Operator op, int64_t b) {
  const bool divides =
      op == Operator::divide || op == Operator::floor_divide || op == Operator::modulo;
  if (divides && b == 0) context.fail("a division by zero");
  if (op == Operator::divide) return static_cast<double>(a) / static_cast<double>(b);
  if (op == Operator::power) return integer_power(context, a, b);
  if (op == Operator::modulo) {
    if (b == -1) return int64_t{0};
    return a - floor_quotient(a, b) * b;
  }
  int64_t result = 0;
  bool overflow = false;
  if (op == Operator::add) overflow = __builtin_add_overflow(a, b, &result);
  else if (op == Operator::subtract) overflow = __builtin_sub_overflow(a, b, &result);
  else if (op == Operator::multiply) overflow = __builtin_mul_overflow(a, b, &result);
  else if (b == -1) overflow = __builtin_sub_overflow(int64_t{0}, a, &result);
  else result = floor_quotient(a, b);
  if (overflow) fail_overflow(context);
  return result;
}

// a = quotient * b + rest, the rest of b's sign, zeros too: as float_divmod of Python.
struct Division {
  double quotient, rest;
};

Division divided(double a, double b) {
  double rest = std::fmod(a, b);
  double quotient = (a - rest) / b;
  if (rest == 0) {
    rest = std::copysign(0.0, b);
  } else if ((rest < 0) != (b < 0)) {
    rest += b;
    quotient -= 1;
  }
  if (quotient == 0) return {std::copysign(0.0, a / b), rest};
  const double whole = std::floor(quotient);
  return {quotient - whole > 0.5 ? whole + 1 : whole, rest};
}

Value of_numbers(Context& context, double a, Operator op, double b) {
  const bool divides =
      op == Operator::divide || op == Operator::floor_divide || op == Operator::modulo;
  if (divides && b == 0) context.fail("a division by zero");
  switch (op) {
    case Operator::add: return a + b;
    case Operator::subtract: return a - b;
    case Operator::multiply: return a * b;
    case Operator::divide: return a / b;
    case Operator::floor_divide: return divided(a, b).quotient;
    case Operator::modulo: return divided(a, b).rest;
    case Operator::power: break;
  }
  const double result = std::pow(a, b);
  if (!std::isfinite(result) || (a == 0 && b < 0)) context.fail("a power is out of range");
  return result;
}

// A string or a list, n times.
Value repeated(Context& context, const Value& value, int64_t n) {
  const auto times = static_cast<size_t>(std::max<int64_t>(n, 0));
  if (const Text* text = text_of(value)) {
    Text out;
    if (text->empty()) return make_text(context, out);
    for (size_t i = 0; i < times; ++i) {
      context.make_bytes(text->size());
      out.append(*text);
    }
    return make_text(context, std::move(out));
  }
  const List* list = sequence_of(value);
  std::vector<Value> items;
  for (size_t i = 0; i < times && !list->items.empty(); ++i) {
    context.step(list->items.size());
    items.insert(items.end(), list->items.begin(), list->items.end());
  }
  return make_list(context, std::move(items), list->kind);
}

bool contains(Context& context, const Value& container, const Value& item) {
  if (const Text* text = text_of(container)) {
    const Text* part = text_of(item);
    if (part == nullptr)
      context.fail("in a string there can only be strings, not " + describe(item));
    context.read_bytes(text->size() + part->size());
    return find_bytes(text->bytes(), part->bytes()) != std::string_view::npos;
  }
  if (const Dict* dict = dict_of(container)) return find_key(context, *dict, item) != nullptr;
  const ListPtr list = items_of(context, container);
  return std::any_of(list->items.begin(), list->items.end(),
                     [&](const Value& one) { return equals(context, one, item); });
}

// The position that an index from -length to length - 1 names; none when it is outside.
bool find_position(int64_t index, size_t length, size_t& position) {
  const auto count = static_cast<int64_t>(length);
  if (index < -count || index >= count) return false;
  position = static_cast<size_t>(index < 0 ? index + count : index);
  return true;
}

Value loop_attribute(Context& context, const LoopPtr& loop, std::string_view name) {
  const auto count = static_cast<int64_t>(loop->items->items.size());
  const auto index = static_cast<int64_t>(loop->index);
  const auto item_at = [&](int64_t i) -> Value {
    if (i < 0 || i >= count) return Undefined{};
    return loop->items->items[static_cast<size_t>(i)];
  };
  if (name == "index") return index + 1;
  if (name == "index0") return index;
  if (name == "revindex") return count - index;
  if (name == "revindex0") return count - index - 1;
  if (name == "first") return index == 0;
  if (name == "last") return index == count - 1;
  if (name == "length") return count;
  if (name == "previtem") return item_at(index - 1);
  if (name == "nextitem") return item_at(index + 1);
  if (name == "depth") return int64_t{1};  // of recursive loops, which there are none of
  if (name == "depth0") return int64_t{0};
  return find_method(context, loop, name);
}

}  // namespace

Value calculate(Context& context, const Value& a, Operator op, const Value& b) {
  context.step();
  if (is_integer(a) && is_integer(b)) return of_integers(context, integer_of(a), op, integer_of(b));
  if (is_number(a) && is_number(b)) return of_numbers(context, number_of(a), op, number_of(b));
  const auto repeats = [](const Value& value) {
    return text_of(value) != nullptr || sequence_of(value) != nullptr;
  };
  if (op == Operator::multiply && is_integer(b) && repeats(a))
    return repeated(context, a, integer_of(b));
  if (op == Operator::multiply && is_integer(a) && repeats(b))
    return repeated(context, b, integer_of(a));
  if (op != Operator::add) fail_types(context, a, op, b);
  if (text_of(a) != nullptr && text_of(b) != nullptr) {
    Text out = to_text(context, a);
    append_text(context, b, out);
    return make_text(context, std::move(out));
  }
  const List* x = sequence_of(a);
  const List* y = sequence_of(b);
  if (x == nullptr || y == nullptr || x->kind != y->kind) fail_types(context, a, op, b);
  std::vector<Value> items = x->items;
  items.insert(items.end(), y->items.begin(), y->items.end());
  return make_list(context, std::move(items), x->kind);
}

bool holds(Context& context, const Value& a, Relation relation, const Value& b) {
  switch (relation) {
    case Relation::equal: return equals(context, a, b);
    case Relation::not_equal: return !equals(context, a, b);
    case Relation::in: return contains(context, b, a);
    case Relation::not_in: return !contains(context, b, a);
    case Relation::less: return is_less(context, a, b);
    case Relation::greater: return is_less(context, b, a);
    case Relation::less_equal: return is_less(context, a, b) || equals(context, a, b);
    case Relation::greater_equal: return is_less(context, b, a) || equals(context, a, b);
  }
  return false;
}

Value negative(Context& context, const Value& value) {
  if (std::holds_alternative<double>(value)) return -number_of(value);
  if (is_integer(value)) return of_integers(context, 0, Operator::subtract, integer_of(value));
  context.fail("- does not go with " + describe(value));
}

int64_t length_of(Context& context, const Value& value) {
  if (is_undefined(value)) return 0;
  if (const Text* text = text_of(value)) {
    context.read_bytes(text->size());
    return static_cast<int64_t>(count_characters(text->bytes()));
  }
  if (const Dict* dict = dict_of(value)) return static_cast<int64_t>(dict->entries.size());
  const List* list = list_of(value);
  if (list == nullptr || list->kind == List::Kind::lazy) {
    context.fail(describe(value) + " has no length" +
                 (list != nullptr ? "; put | list before | length" : ""));
  }
  return static_cast<int64_t>(list->items.size());
}

Value element(Context& context, const Value& object, const Value& key) {
  context.step();
  if (is_undefined(object)) context.fail("an element is asked of " + describe(object));
  const Text* name = text_of(key);
  if (const Dict* dict = dict_of(object)) {
    if (const Value* found = find_key(context, *dict, key)) return *found;
  }
  if (is_integer(key)) {
    size_t position = 0;
    if (const List* list = sequence_of(object)) {
      if (find_position(integer_of(key), list->items.size(), position))
        return list->items[position];
    } else if (const Text* text = text_of(object)) {
      const auto length = static_cast<size_t>(length_of(context, object));
      if (find_position(integer_of(key), length, position)) {
        const size_t begin = offset_of_character(text->bytes(), position);
        const size_t end = begin + character_at(text->bytes(), begin).length;
        return make_text(context, text->slice(begin, end));
      }
    }
  }
  if (name != nullptr && dict_of(object) == nullptr) {
    Value found = attribute(context, object, name->bytes());
    return is_undefined(found) ? Undefined{} : std::move(found);  // the name is not the template's
  }
  return name != nullptr ? find_method(context, object, name->bytes()) : Undefined{};
}

Value attribute(Context& context, const Value& object, std::string_view name) {
  context.step();
  if (is_undefined(object)) {
    context.fail("the attribute \"" + std::string(name) + "\" is asked of " + describe(object));
  }
  if (const auto* loop = std::get_if<LoopPtr>(&object)) return loop_attribute(context, *loop, name);
  if (const auto* space = std::get_if<Namespace*>(&object)) {
    const auto found = (*space)->values.find(name);
    if (found != (*space)->values.end()) return found->second;
    return Undefined{name};
  }
  Value method = find_method(context, object, name);
  if (!is_undefined(method)) return method;
  if (const Dict* dict = dict_of(object)) {
    if (const Value* found = find_key(context, *dict, name)) return *found;
  }
  return Undefined{name};
}

Value attribute_path(Context& context, const Value& object, const Value& path) {
  const Text* text = text_of(path);
  if (text == nullptr) return element(context, object, path);
  Value value = object;
  for (size_t begin = 0; begin <= text->size();) {
    const size_t end = std::min(text->bytes().find('.', begin), text->size());
    const std::string_view part = std::string_view(text->bytes()).substr(begin, end - begin);
    int64_t index = 0;
    const auto [stop, failed] = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool is_index =
        failed == std::errc() && stop == part.data() + part.size() && part.front() != '-';
    value = element(context, value,
                    is_index ? Value(index) : make_text(context, text->slice(begin, end)));
    begin = end + 1;
  }
  return value;
}

namespace {

// Where a slice goes: count positions from first on, step apart. As PySlice_AdjustIndices.
struct Walk {
  int64_t first = 0, step = 1, count = 0;
};

Walk walk_of(Context& context, const SliceBounds& bounds, int64_t length) {
  for (const Value* bound : {&bounds.begin, &bounds.end, &bounds.step}) {
    if (!is_none(*bound) && !is_integer(*bound)) {
      context.fail("the bound of a slice is " + describe(*bound) + "; accepted is an integer");
    }
  }
  Walk walk;
  if (!is_none(bounds.step)) walk.step = integer_of(bounds.step);
  if (walk.step == 0) context.fail("the step of a slice is zero");
  walk.step = std::max(walk.step, -std::numeric_limits<int64_t>::max());
  const bool down = walk.step < 0;
  const auto place = [&](const Value& bound, int64_t fallback) {
    if (is_none(bound)) return fallback;
    int64_t at = integer_of(bound);
    if (at < 0) at = at < -length ? -1 : at + length;
    return std::clamp<int64_t>(at, down ? -1 : 0, down ? length - 1 : length);
  };
  walk.first = place(bounds.begin, down ? length - 1 : 0);
  const int64_t end = place(bounds.end, down ? -1 : length);
  const int64_t distance = down ? walk.first - end : end - walk.first;
  const int64_t stride = down ? -walk.step : walk.step;
  walk.count = distance > 0 ? (distance - 1) / stride + 1 : 0;
  return walk;
}

Value slice_of_text(Context& context, const Text& text, const Walk& walk) {
  const std::string& bytes = text.bytes();
  if (walk.step == 1) {
    const size_t begin = offset_of_character(bytes, static_cast<size_t>(walk.first));
    const std::string_view rest = std::string_view(bytes).substr(begin);
    const size_t length = offset_of_character(rest, static_cast<size_t>(walk.count));
    return make_text(context, text.slice(begin, begin + length));
  }
  std::vector<size_t> starts;
  for (size_t at = 0; at < bytes.size(); at += character_at(bytes, at).length) starts.push_back(at);
  starts.push_back(bytes.size());
  context.step(starts.size());
  Text out;
  for (int64_t i = 0; i < walk.count; ++i) {
    const auto at = static_cast<size_t>(walk.first + i * walk.step);
    out.append(text, starts[at], starts[at + 1]);
  }
  return make_text(context, std::move(out));
}

}  // namespace

Value slice(Context& context, const Value& object, const SliceBounds& bounds) {
  if (const Text* text = text_of(object)) {
    return slice_of_text(context, *text, walk_of(context, bounds, length_of(context, object)));
  }
  const List* list = sequence_of(object);
  if (list == nullptr) context.fail(describe(object) + " cannot be sliced");
  const Walk walk = walk_of(context, bounds, static_cast<int64_t>(list->items.size()));
  std::vector<Value> items;
  context.step(static_cast<size_t>(walk.count));
  for (int64_t i = 0; i < walk.count; ++i) {
    items.push_back(list->items[static_cast<size_t>(walk.first + i * walk.step)]);
  }
  return make_list(context, std::move(items), list->kind);
}

}  // namespace tristill::jinja
