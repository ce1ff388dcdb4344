#include "server/jinja/value.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "server/jinja/characters.h"
#include "server/jinja/context.h"

namespace tristill::jinja {
namespace {

constexpr size_t kMaxDepth = 64;
constexpr size_t kTextBytes = 128;  // of a string, besides its own

size_t depth_around(const std::vector<Value>& items) {
  size_t deepest = 0;
  for (const Value& item : items) deepest = std::max(deepest, depth_of(item));
  return deepest + 1;
}

size_t depth_around(const std::vector<std::pair<Value, Value>>& entries) {
  size_t deepest = 0;
  for (const auto& [key, value] : entries) {
    deepest = std::max({deepest, depth_of(key), depth_of(value)});
  }
  return deepest + 1;
}

Value checked(Context& context, Value value) {
  if (depth_of(value) > kMaxDepth) {
    context.fail("a list or dictionary is nested deeper than " + std::to_string(kMaxDepth) +
                 " levels");
  }
  return value;
}

template <class Items, class Same>
bool all_equal(const Items& a, const Items& b, const Same& same) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), same);
}

bool same_lists(Context& context, const List& a, const List& b) {
  if (a.kind != b.kind || a.kind == List::Kind::lazy) return false;
  return all_equal(a.items, b.items,
                   [&](const Value& x, const Value& y) { return equals(context, x, y); });
}

bool same_dicts(Context& context, const Dict& a, const Dict& b) {
  if (a.entries.size() != b.entries.size()) return false;
  for (const auto& [key, value] : a.entries) {
    const Value* other = find_key(context, b, key);
    if (other == nullptr || !equals(context, value, *other)) return false;
  }
  return true;
}

void append_quoted(Context& context, const Text& text, Text& out) {
  const std::string& bytes = text.bytes();
  context.make_bytes(bytes.size());
  const bool has_single = bytes.find('\'') != std::string::npos;
  const bool has_double = bytes.find('"') != std::string::npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  out.append(std::string_view(&quote, 1), Origin::data);
  constexpr char kDigits[] = "0123456789abcdef";
  size_t plain = 0;  // where what goes as it is begins
  for (size_t at = 0; at < bytes.size();) {
    const Character character = character_at(bytes, at);
    const char32_t code = character.code;
    std::string escaped;
    if (code == '\\' || code == static_cast<unsigned char>(quote)) escaped = {'\\', bytes[at]};
    else if (code == '\n') escaped = "\\n";
    else if (code == '\r') escaped = "\\r";
    else if (code == '\t') escaped = "\\t";
    else if (!is_printable(code)) {
      const int width = code < 0x100 ? 2 : code < 0x10000 ? 4 : 8;
      escaped = code < 0x100 ? "\\x" : code < 0x10000 ? "\\u" : "\\U";
      for (int shift = 4 * (width - 1); shift >= 0; shift -= 4) {
        escaped += kDigits[code >> shift & 15];
      }
    }
    if (!escaped.empty()) {
      out.append(text, plain, at);
      out.append(escaped, Origin::data);
      plain = at + character.length;
    }
    at += character.length;
  }
  out.append(text, plain, bytes.size());
  out.append(std::string_view(&quote, 1), Origin::data);
}

void append_list(Context& context, const List& list, Text& out) {
  using Kind = List::Kind;
  const auto say = [&](std::string_view bytes) { out.append(bytes, Origin::data); };
  const bool round = list.kind == Kind::tuple;
  say(round ? "(" : list.kind == Kind::view ? "dict_view([" : "[");
  for (size_t i = 0; i < list.items.size(); ++i) {
    if (i > 0) say(", ");
    append_repr(context, list.items[i], out);
  }
  if (round && list.items.size() == 1) say(",");
  say(round ? ")" : list.kind == Kind::view ? "])" : "]");
}

void append_dict(Context& context, const Dict& dict, Text& out) {
  out.append("{", Origin::data);
  for (size_t i = 0; i < dict.entries.size(); ++i) {
    if (i > 0) out.append(", ", Origin::data);
    append_repr(context, dict.entries[i].first, out);
    out.append(": ", Origin::data);
    append_repr(context, dict.entries[i].second, out);
  }
  out.append("}", Origin::data);
}

}  // namespace

Value make_text(std::string_view bytes, Origin origin) {
  return std::make_shared<const Text>(bytes, origin);
}

Value make_list(std::vector<Value> items, List::Kind kind) {
  const size_t depth = depth_around(items);
  return std::make_shared<const List>(List{std::move(items), kind, depth});
}

Value make_dict(std::vector<std::pair<Value, Value>> entries) {
  const size_t depth = depth_around(entries);
  return std::make_shared<const Dict>(Dict{std::move(entries), depth});
}

Value make_text(Context& context, Text text) {
  context.make_bytes(kTextBytes + text.size());
  return std::make_shared<const Text>(std::move(text));
}

Value make_list(Context& context, std::vector<Value> items, List::Kind kind) {
  context.step(items.size());
  context.make_bytes(items.size() * sizeof(Value));
  return checked(context, make_list(std::move(items), kind));
}

Value make_dict(Context& context, std::vector<std::pair<Value, Value>> entries) {
  context.step(entries.size());
  context.make_bytes(entries.size() * 2 * sizeof(Value));
  return checked(context, make_dict(std::move(entries)));
}

Value make_function(std::string name, std::function<Value(Context&, const Arguments&)> call,
                    size_t depth) {
  return std::make_shared<const Function>(Function{std::move(name), std::move(call), depth});
}

size_t depth_of(const Value& value) {
  if (const List* list = list_of(value)) return list->depth;
  if (const Dict* dict = dict_of(value)) return dict->depth;
  if (const auto* loop = std::get_if<LoopPtr>(&value)) return (*loop)->items->depth + 1;
  if (const auto* function = std::get_if<FunctionPtr>(&value)) return (*function)->depth;
  return 0;
}

const Text* text_of(const Value& value) {
  const auto* text = std::get_if<TextPtr>(&value);
  return text == nullptr ? nullptr : text->get();
}

const List* list_of(const Value& value) {
  const auto* list = std::get_if<ListPtr>(&value);
  return list == nullptr ? nullptr : list->get();
}

const Dict* dict_of(const Value& value) {
  const auto* dict = std::get_if<DictPtr>(&value);
  return dict == nullptr ? nullptr : dict->get();
}

const List* sequence_of(const Value& value) {
  const List* list = list_of(value);
  const bool has_positions =
      list != nullptr && (list->kind == List::Kind::list || list->kind == List::Kind::tuple);
  return has_positions ? list : nullptr;
}

bool is_integer(const Value& value) {
  return std::holds_alternative<bool>(value) || std::holds_alternative<int64_t>(value);
}

bool is_number(const Value& value) {
  return is_integer(value) || std::holds_alternative<double>(value);
}

int64_t integer_of(const Value& value) {
  const bool* truth = std::get_if<bool>(&value);
  return truth != nullptr ? int64_t{*truth} : std::get<int64_t>(value);
}

double number_of(const Value& value) {
  const double* number = std::get_if<double>(&value);
  return number != nullptr ? *number : static_cast<double>(integer_of(value));
}

std::string describe(const Value& value) {
  struct Name {
    std::string operator()(const Undefined& undefined) const {
      if (undefined.name.empty()) return "an undefined value";
      return "\"" + std::string(undefined.name) + "\", which is undefined";
    }
    std::string operator()(None) const { return "none"; }
    std::string operator()(bool) const { return "a boolean"; }
    std::string operator()(int64_t) const { return "an integer"; }
    std::string operator()(double) const { return "a number"; }
    std::string operator()(const TextPtr&) const { return "a string"; }
    std::string operator()(const ListPtr& list) const {
      switch (list->kind) {
        case List::Kind::list: return "a list";
        case List::Kind::tuple: return "a tuple";
        case List::Kind::view: return "a dictionary's view";
        case List::Kind::lazy: return "a generator";
      }
      return "a list";
    }
    std::string operator()(const DictPtr&) const { return "a dictionary"; }
    std::string operator()(const LoopPtr&) const { return "a loop"; }
    std::string operator()(const FunctionPtr& function) const {
      return "the function " + function->name;
    }
    std::string operator()(Namespace*) const { return "a namespace"; }
  };
  return std::visit(Name{}, value);
}

bool is_true(const Value& value) {
  if (is_undefined(value) || is_none(value)) return false;
  if (is_number(value)) return number_of(value) != 0;
  if (const Text* text = text_of(value)) return !text->empty();
  if (const List* list = list_of(value))
    return list->kind == List::Kind::lazy || !list->items.empty();
  if (const Dict* dict = dict_of(value)) return !dict->entries.empty();
  return true;
}

bool equals(Context& context, const Value& a, const Value& b) {
  context.step();
  const Context::Level level(context);
  if (is_integer(a) && is_integer(b)) return integer_of(a) == integer_of(b);
  if (is_number(a) && is_number(b)) return number_of(a) == number_of(b);
  if (a.index() != b.index()) return false;
  if (const Text* text = text_of(a)) {
    context.read_bytes(text->size());
    return text->bytes() == text_of(b)->bytes();
  }
  if (const List* list = list_of(a)) return same_lists(context, *list, *list_of(b));
  if (const Dict* dict = dict_of(a)) return same_dicts(context, *dict, *dict_of(b));
  if (const auto* loop = std::get_if<LoopPtr>(&a)) return *loop == std::get<LoopPtr>(b);
  if (const auto* call = std::get_if<FunctionPtr>(&a)) return *call == std::get<FunctionPtr>(b);
  if (const auto* space = std::get_if<Namespace*>(&a)) return *space == std::get<Namespace*>(b);
  return true;  // undefined, none
}

bool is_less(Context& context, const Value& a, const Value& b) {
  context.step();
  const Context::Level level(context);
  if (is_integer(a) && is_integer(b)) return integer_of(a) < integer_of(b);
  if (is_number(a) && is_number(b)) return number_of(a) < number_of(b);
  if (text_of(a) != nullptr && text_of(b) != nullptr) {
    context.read_bytes(std::min(text_of(a)->size(), text_of(b)->size()));
    return text_of(a)->bytes() < text_of(b)->bytes();  // the order of code points
  }
  const List* x = sequence_of(a);
  const List* y = sequence_of(b);
  if (x != nullptr && y != nullptr && x->kind == y->kind) {
    for (size_t i = 0; i < std::min(x->items.size(), y->items.size()); ++i) {
      if (!equals(context, x->items[i], y->items[i])) {
        return is_less(context, x->items[i], y->items[i]);
      }
    }
    return x->items.size() < y->items.size();
  }
  context.fail(describe(a) + " and " + describe(b) + " have no order");
}

void check_hashable(Context& context, const Value& value) {
  const List* list = list_of(value);
  if (dict_of(value) != nullptr || (list != nullptr && list->kind == List::Kind::list)) {
    context.fail(describe(value) + " cannot be a key; accepted are strings, numbers, tuples");
  }
  if (list == nullptr || list->kind != List::Kind::tuple) return;
  for (const Value& item : list->items) check_hashable(context, item);
}

const Value* find_key(Context& context, const Dict& dict, const Value& key) {
  if (const Text* text = text_of(key)) return find_key(context, dict, text->bytes());
  check_hashable(context, key);
  context.step(dict.entries.size());
  for (const auto& [known, value] : dict.entries) {
    if (equals(context, known, key)) return &value;
  }
  return nullptr;
}

const Value* find_key(Context& context, const Dict& dict, std::string_view key) {
  context.step(1 + dict.entries.size() / 8);
  for (const auto& [known, value] : dict.entries) {
    const Text* text = text_of(known);
    if (text != nullptr && text->bytes() == key) return &value;
  }
  return nullptr;
}

ListPtr items_of(Context& context, const Value& value) {
  if (const auto* list = std::get_if<ListPtr>(&value)) return *list;
  std::vector<Value> items;
  if (const Dict* dict = dict_of(value)) {
    for (const auto& [key, element] : dict->entries) items.push_back(key);
  } else if (const Text* text = text_of(value)) {
    const std::string& bytes = text->bytes();
    for (size_t at = 0; at < bytes.size();) {
      const size_t length = character_at(bytes, at).length;
      context.step();
      items.push_back(make_text(context, text->slice(at, at + length)));
      at += length;
    }
  } else if (!is_undefined(value)) {
    context.fail(describe(value) + " cannot be gone through; a list, a dictionary or a string can");
  }
  return std::get<ListPtr>(make_list(context, std::move(items)));
}

void append_text(Context& context, const Value& value, Text& out) {
  if (is_undefined(value)) return;
  const Text* text = text_of(value);
  if (text == nullptr) return append_repr(context, value, out);
  context.make_bytes(text->size());
  out.append(*text);
}

Text to_text(Context& context, const Value& value) {
  Text out;
  append_text(context, value, out);
  return out;
}

void append_repr(Context& context, const Value& value, Text& out) {
  context.step();
  const Context::Level level(context);
  const auto say = [&](std::string_view bytes) {
    context.make_bytes(bytes.size());
    out.append(bytes, Origin::data);
  };
  if (is_undefined(value)) say("Undefined");
  else if (is_none(value)) say("None");
  else if (const bool* truth = std::get_if<bool>(&value)) say(*truth ? "True" : "False");
  else if (is_integer(value)) say(std::to_string(integer_of(value)));
  else if (is_number(value)) say(format_number(number_of(value)));
  else if (const Text* text = text_of(value)) append_quoted(context, *text, out);
  else if (const List* list = list_of(value)) append_list(context, *list, out);
  else if (const Dict* dict = dict_of(value)) append_dict(context, *dict, out);
  else context.fail(describe(value) + " cannot be written out");
}

std::string format_number(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number < 0 ? "-inf" : "inf";
  char buffer[64];
  const double size = std::fabs(number);
  // Python's choice between both forms, on the shortest digits that give the number back.
  const bool is_fixed = size == 0 || (size >= 1e-4 && size < 1e16);
  const auto form = is_fixed ? std::chars_format::fixed : std::chars_format::scientific;
  const auto [end, failed] = std::to_chars(buffer, buffer + sizeof buffer, number, form);
  std::string text(buffer, end);
  if (is_fixed && text.find('.') == std::string::npos) text += ".0";
  return text;
}

}  // namespace tristill::jinja
