#include "server/jinja/methods.h"

#include <algorithm>

#include "server/jinja/arguments.h"
#include "server/jinja/characters.h"
#include "server/jinja/operations.h"
#include "server/jinja/strings.h"

namespace tristill::jinja {
namespace {

using Method = Value (*)(Context&, const Value& self, const Arguments&);

struct Named {
  std::string_view name;
  Method method;
};

// ---- strings

template <Side side>
Value strip_method(Context& context, const Value& self, const Arguments& arguments) {
  const Parameters given(context, "strip", arguments, {"chars"});
  return make_text(context, strip(context, *text_of(self), given.text_or_null(0), side));
}

template <bool from_right>
Value split_method(Context& context, const Value& self, const Arguments& arguments) {
  const Parameters given(context, "split", arguments, {"sep", "maxsplit"});
  return make_list(context, split(context, *text_of(self), given.text_or_null(0),
                                  given.integer(1, -1), from_right));
}

Value split_lines_method(Context& context, const Value& self, const Arguments& arguments) {
  const Parameters given(context, "splitlines", arguments, {"keepends"});
  return make_list(context, split_lines(context, *text_of(self), given.truth(0, false)));
}

template <Text (*change)(Context&, const Text&)>
Value change_method(Context& context, const Value& self, const Arguments& arguments) {
  const Parameters none(context, "the method", arguments, {});
  return make_text(context, change(context, *text_of(self)));
}

Value replace_method(Context& context, const Value& self, const Arguments& arguments) {
  const Parameters given(context, "replace", arguments, {"old", "new", "count"});
  return make_text(context, replace(context, *text_of(self), given.text(0), given.text(1),
                                    given.integer(2, -1)));
}

// The part of a string that find, count, startswith look at, by positions of characters.
struct Window {
  std::string_view bytes;
  int64_t first = 0;  // character
};

Window window_of(Context& context, const Value& self, const Parameters& given) {
  const int64_t length = length_of(context, self);
  const auto place = [&](int64_t at) {
    return std::clamp<int64_t>(at < 0 ? at + length : at, 0, length);
  };
  const int64_t begin = given.integer(1, 0);
  const int64_t end = place(std::max(given.integer(2, length), -length));
  const int64_t first = begin > length ? length + 1 : place(std::max(begin, -length));
  const std::string_view bytes = text_of(self)->bytes();
  if (first > end) return {{}, -1};
  const size_t from = offset_of_character(bytes, static_cast<size_t>(first));
  const size_t to = offset_of_character(bytes, static_cast<size_t>(end));
  return {bytes.substr(from, to - from), first};
}

template <bool at_end>
Value starts_with_method(Context& context, const Value& self, const Arguments& arguments) {
  const char* what = at_end ? "endswith" : "startswith";
  const Parameters given(context, what, arguments, {"prefix", "start", "end"});
  const Window window = window_of(context, self, given);
  const auto matches = [&](const Value& value) {
    const Text* part = text_of(value);
    if (part == nullptr) {
      context.fail(std::string(what) + " is given " + describe(value) +
                   "; accepted is a string or a tuple of strings");
    }
    context.read_bytes(part->size());
    if (window.first < 0) return false;
    return at_end ? window.bytes.ends_with(part->bytes()) : window.bytes.starts_with(part->bytes());
  };
  const List* choices = list_of(given.required(0));
  if (choices == nullptr || choices->kind != List::Kind::tuple) return matches(given.required(0));
  return std::any_of(choices->items.begin(), choices->items.end(), matches);
}

// The last occurrence, found from the left: memrmem does not exist.
size_t find_last(Context& context, std::string_view bytes, std::string_view part) {
  size_t last = std::string_view::npos;
  for (size_t at = find_bytes(bytes, part); at != std::string_view::npos;
       at = find_bytes(bytes, part, at + 1)) {
    context.step(1 + part.size() / 64);
    last = at;
  }
  return last;
}

template <bool last>
Value find_method_of_text(Context& context, const Value& self, const Arguments& arguments) {
  const Parameters given(context, "find", arguments, {"sub", "start", "end"});
  const Window window = window_of(context, self, given);
  const std::string& part = given.text(0).bytes();
  context.read_bytes(part.size());
  if (window.first < 0) return int64_t{-1};
  const size_t found =
      last ? find_last(context, window.bytes, part) : find_bytes(window.bytes, part);
  if (found == std::string_view::npos) return int64_t{-1};
  return window.first + static_cast<int64_t>(count_characters(window.bytes.substr(0, found)));
}

Value index_method(Context& context, const Value& self, const Arguments& arguments) {
  Value found = find_method_of_text<false>(context, self, arguments);
  if (integer_of(found) < 0) context.fail("index does not find the string");
  return found;
}

Value count_method(Context& context, const Value& self, const Arguments& arguments) {
  const Parameters given(context, "count", arguments, {"sub", "start", "end"});
  const Window window = window_of(context, self, given);
  const std::string& part = given.text(0).bytes();
  if (window.first < 0) return int64_t{0};
  if (part.empty()) return static_cast<int64_t>(count_characters(window.bytes)) + 1;
  int64_t count = 0;
  for (size_t at = find_bytes(window.bytes, part); at != std::string_view::npos;
       at = find_bytes(window.bytes, part, at + part.size())) {
    context.step();
    ++count;
  }
  return count;
}

Value join_method(Context& context, const Value& self, const Arguments& arguments) {
  const Parameters given(context, "join", arguments, {"iterable"});
  const ListPtr items = items_of(context, given.required(0));
  for (const Value& item : items->items) {
    if (text_of(item) == nullptr) context.fail("join joins strings, not " + describe(item));
  }
  return make_text(context, join(context, items->items, *text_of(self)));
}

template <bool at_end>
Value remove_method(Context& context, const Value& self, const Arguments& arguments) {
  const Parameters given(context, "removeprefix", arguments, {"prefix"});
  const Text& text = *text_of(self);
  const Text& part = given.text(0);
  const bool found =
      at_end ? text.bytes().ends_with(part.bytes()) : text.bytes().starts_with(part.bytes());
  if (!found) return self;
  return make_text(context, at_end ? text.slice(0, text.size() - part.size())
                                   : text.slice(part.size(), text.size()));
}

bool is_letter_or_digit(char32_t code) { return is_letter(code) || is_digit(code); }

template <bool (*test)(char32_t)>
Value all_method(Context& context, const Value& self, const Arguments& arguments) {
  const Parameters none(context, "the method", arguments, {});
  context.step(text_of(self)->size());
  const std::u32string codes = decode_characters(text_of(self)->bytes());
  return !codes.empty() && std::all_of(codes.begin(), codes.end(), test);
}

template <bool (*wanted)(char32_t), bool (*other)(char32_t)>
Value cased_method(Context& context, const Value& self, const Arguments& arguments) {
  const Parameters none(context, "the method", arguments, {});
  context.step(text_of(self)->size());
  const std::u32string codes = decode_characters(text_of(self)->bytes());
  return std::any_of(codes.begin(), codes.end(), wanted) &&
         std::none_of(codes.begin(), codes.end(), other);
}

Value format_method(Context& context, const Value& self, const Arguments& arguments) {
  return make_text(context, format(context, *text_of(self), arguments));
}

constexpr Named kTextMethods[] = {
    {"capitalize", change_method<capitalize>},
    {"count", count_method},
    {"endswith", starts_with_method<true>},
    {"find", find_method_of_text<false>},
    {"format", format_method},
    {"index", index_method},
    {"isalnum", all_method<is_letter_or_digit>},
    {"isalpha", all_method<is_letter>},
    {"isdigit", all_method<is_digit>},
    {"islower", cased_method<is_lower, is_upper>},
    {"isspace", all_method<is_space>},
    {"isupper", cased_method<is_upper, is_lower>},
    {"join", join_method},
    {"lower", change_method<lower>},
    {"lstrip", strip_method<Side::left>},
    {"removeprefix", remove_method<false>},
    {"removesuffix", remove_method<true>},
    {"replace", replace_method},
    {"rfind", find_method_of_text<true>},
    {"rsplit", split_method<true>},
    {"rstrip", strip_method<Side::right>},
    {"split", split_method<false>},
    {"splitlines", split_lines_method},
    {"startswith", starts_with_method<false>},
    {"strip", strip_method<Side::both>},
    {"title", change_method<title_of_method>},
    {"upper", change_method<upper>},
};

// ---- dictionaries, lists, loops

Value refuse_change(Context& context, const Value& self, const Arguments&) {
  context.fail(describe(self) + " cannot be changed in a template; a namespace can");
}

Value get_method(Context& context, const Value& self, const Arguments& arguments) {
  const Parameters given(context, "get", arguments, {"key", "default"});
  const Value* found = find_key(context, *dict_of(self), given.required(0));
  if (found != nullptr) return *found;
  return given.at(1) != nullptr ? *given.at(1) : None{};
}

Value items_method(Context& context, const Value& self, const Arguments& arguments) {
  const Parameters none(context, "items", arguments, {});
  std::vector<Value> pairs;
  for (const auto& [key, value] : dict_of(self)->entries) {
    pairs.push_back(make_list(context, {key, value}, List::Kind::tuple));
  }
  return make_list(context, std::move(pairs), List::Kind::view);
}

template <bool of_values>
Value keys_method(Context& context, const Value& self, const Arguments& arguments) {
  const Parameters none(context, of_values ? "values" : "keys", arguments, {});
  std::vector<Value> items;
  for (const auto& [key, value] : dict_of(self)->entries) items.push_back(of_values ? value : key);
  return make_list(context, std::move(items), List::Kind::view);
}

Value copy_method(Context& context, const Value& self, const Arguments& arguments) {
  const Parameters none(context, "copy", arguments, {});
  return self;
}

constexpr Named kDictMethods[] = {
    {"clear", refuse_change},      {"copy", copy_method},         {"get", get_method},
    {"items", items_method},       {"keys", keys_method<false>},  {"pop", refuse_change},
    {"popitem", refuse_change},    {"setdefault", refuse_change}, {"update", refuse_change},
    {"values", keys_method<true>},
};

Value list_index_method(Context& context, const Value& self, const Arguments& arguments) {
  const Parameters given(context, "index", arguments, {"value"});
  const auto& items = list_of(self)->items;
  for (size_t i = 0; i < items.size(); ++i) {
    if (equals(context, items[i], given.required(0))) return static_cast<int64_t>(i);
  }
  context.fail("index does not find the element");
}

Value list_count_method(Context& context, const Value& self, const Arguments& arguments) {
  const Parameters given(context, "count", arguments, {"value"});
  const auto& items = list_of(self)->items;
  return static_cast<int64_t>(std::count_if(items.begin(), items.end(), [&](const Value& item) {
    return equals(context, item, given.required(0));
  }));
}

constexpr Named kListMethods[] = {
    {"append", refuse_change},    {"clear", refuse_change},  {"copy", copy_method},
    {"count", list_count_method}, {"extend", refuse_change}, {"index", list_index_method},
    {"insert", refuse_change},    {"pop", refuse_change},    {"remove", refuse_change},
    {"reverse", refuse_change},   {"sort", refuse_change},
};

Value cycle_method(Context& context, const Value& self, const Arguments& arguments) {
  const auto& values = arguments.positional;
  if (values.empty()) context.fail("cycle needs values to go through");
  return values[std::get<LoopPtr>(self)->index % values.size()];
}

constexpr Named kLoopMethods[] = {{"cycle", cycle_method}};

template <size_t n>
Value bound(const Named (&table)[n], const Value& object, std::string_view name) {
  const Named* found =
      std::find_if(table, table + n, [&](const Named& one) { return one.name == name; });
  if (found == table + n) return Undefined{};
  const Method method = found->method;
  return make_function(
      std::string(name),
      [object, method](Context& context, const Arguments& arguments) {
        return method(context, object, arguments);
      },
      depth_of(object) + 1);
}

}  // namespace

Value find_method(Context& context, const Value& object, std::string_view name) {
  context.step();
  if (text_of(object) != nullptr) return bound(kTextMethods, object, name);
  if (dict_of(object) != nullptr) return bound(kDictMethods, object, name);
  if (sequence_of(object) != nullptr) return bound(kListMethods, object, name);
  if (std::holds_alternative<LoopPtr>(object)) return bound(kLoopMethods, object, name);
  return Undefined{};
}

}  // namespace tristill::jinja
