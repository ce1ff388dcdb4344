#include "server/jinja/filters.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "server/jinja/arguments.h"
#include "server/jinja/characters.h"
#include "server/jinja/json_text.h"
#include "server/jinja/operations.h"
#include "server/jinja/sequence_filters.h"
#include "server/jinja/strings.h"

namespace tristill::jinja {
namespace {

constexpr int64_t kMaxIndent = 256;

std::string spaces(Context& context, int64_t n) {
  if (n > kMaxIndent) context.fail("an indentation is wider than 256");
  return std::string(static_cast<size_t>(std::max<int64_t>(n, 0)), ' ');
}

// ---- strings

template <Text (*change)(Context&, const Text&)>
Value change_filter(Context& context, const Value& input, const Arguments& arguments) {
  const Parameters none(context, "the filter", arguments, {});
  return make_text(context, change(context, to_text(context, input)));
}

Value filter_string(Context& context, const Value& input, const Arguments& arguments) {
  const Parameters none(context, "string", arguments, {});
  return text_of(input) != nullptr ? input : make_text(context, to_text(context, input));
}

Value filter_safe(Context& context, const Value& input, const Arguments& arguments) {
  return filter_string(context, input, arguments);
}

Value filter_trim(Context& context, const Value& input, const Arguments& arguments) {
  const Parameters given(context, "trim", arguments, {"chars"});
  return make_text(context,
                   strip(context, to_text(context, input), given.text_or_null(0), Side::both));
}

Value filter_replace(Context& context, const Value& input, const Arguments& arguments) {
  const Parameters given(context, "replace", arguments, {"old", "new", "count"});
  const Text old = to_text(context, given.required(0));
  const Text replacement = to_text(context, given.required(1));
  return make_text(
      context, replace(context, to_text(context, input), old, replacement, given.integer(2, -1)));
}

Value filter_escape(Context& context, const Value& input, const Arguments& arguments) {
  const Parameters none(context, "escape", arguments, {});
  Text text = to_text(context, input);
  constexpr std::pair<std::string_view, std::string_view> kEntities[] = {
      {"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"'", "&#39;"}, {"\"", "&#34;"}};
  for (const auto& [character, entity] : kEntities) {
    text = replace(context, text, Text(character, Origin::data), Text(entity, Origin::data), -1);
  }
  return make_text(context, std::move(text));
}

Value filter_indent(Context& context, const Value& input, const Arguments& arguments) {
  const Parameters given(context, "indent", arguments, {"width", "first", "blank"});
  const Text* written = given.at(0) != nullptr ? text_of(*given.at(0)) : nullptr;
  const Text width =
      written != nullptr ? *written : Text(spaces(context, given.integer(0, 4)), Origin::data);
  if (text_of(input) == nullptr) context.fail("indent is given " + describe(input));
  Text text = to_text(context, input);
  text.append("\n", Origin::data);  // so that an empty last line is one
  const std::vector<Value> lines = split_lines(context, text, false);
  const bool blank = given.truth(2, false);
  Text out;
  for (size_t i = 0; i < lines.size(); ++i) {
    const Text& line = *text_of(lines[i]);
    const bool is_indented = i == 0 ? given.truth(1, false) : blank || !line.empty();
    context.make_bytes(width.size() + line.size() + 1);
    if (i > 0) out.append("\n", Origin::data);
    if (is_indented) out.append(width);
    out.append(line);
  }
  return make_text(context, std::move(out));
}

// ---- numbers

std::string_view stripped(std::string_view bytes) {
  while (!bytes.empty() && is_space(static_cast<unsigned char>(bytes.front())))
    bytes.remove_prefix(1);
  while (!bytes.empty() && is_space(static_cast<unsigned char>(bytes.back())))
    bytes.remove_suffix(1);
  return bytes;
}

template <class Number, class... Form>
bool parse_number(std::string_view text, Number& number, Form... form) {
  if (text.starts_with('+') && text.size() > 1 && text[1] != '-') text.remove_prefix(1);
  const char* const end = text.data() + text.size();
  const auto [stop, failed] = std::from_chars(text.data(), end, number, form...);
  return failed == std::errc() && stop == end;
}

Value filter_int(Context& context, const Value& input, const Arguments& arguments) {
  const Parameters given(context, "int", arguments, {"default", "base"});
  const Value fallback = given.at(0) != nullptr ? *given.at(0) : int64_t{0};
  const int64_t base = given.integer(1, 10);
  if (base < 2 || base > 36) context.fail("int takes a base from 2 to 36");
  if (is_integer(input)) return integer_of(input);
  double number = 0;
  if (const Text* text = text_of(input)) {
    const std::string_view digits = stripped(text->bytes());
    int64_t whole = 0;
    if (parse_number(digits, whole, static_cast<int>(base))) return whole;
    if (!parse_number(digits, number)) return fallback;
  } else if (is_number(input)) {
    number = number_of(input);
  } else {
    return fallback;
  }
  if (!(std::fabs(number) < 9e18)) return fallback;
  return static_cast<int64_t>(number);
}

Value filter_float(Context& context, const Value& input, const Arguments& arguments) {
  const Parameters given(context, "float", arguments, {"default"});
  double number = 0;
  if (is_number(input)) return number_of(input);
  const Text* text = text_of(input);
  if (text != nullptr && parse_number(stripped(text->bytes()), number)) return number;
  return given.at(0) != nullptr ? *given.at(0) : Value(0.0);
}

Value filter_abs(Context& context, const Value& input, const Arguments& arguments) {
  const Parameters none(context, "abs", arguments, {});
  if (!is_number(input)) context.fail("abs is given " + describe(input));
  if (is_integer(input) && integer_of(input) >= 0) return integer_of(input);
  if (is_integer(input)) return negative(context, input);
  return std::fabs(number_of(input));
}

// To digits behind the point, halves to even, from the exact value: as Python's round.
double rounded(double number, int64_t digits) {
  if (digits < 0) {
    const double unit = std::pow(10.0, static_cast<double>(-digits));
    return std::nearbyint(number / unit) * unit;
  }
  char text[400];
  std::snprintf(text, sizeof text, "%.*f", static_cast<int>(digits), number);
  double result = number;
  parse_number(std::string_view(text), result);
  return result;
}

Value filter_round(Context& context, const Value& input, const Arguments& arguments) {
  const Parameters given(context, "round", arguments, {"precision", "method"});
  if (!is_number(input)) context.fail("round is given " + describe(input));
  const int64_t digits = given.integer(0, 0);
  if (digits < -18 || digits > 30) context.fail("round takes a precision from -18 to 30");
  const std::string method = given.at(1) != nullptr ? given.text(1).bytes() : "common";
  const double number = number_of(input);
  if (method == "common") {
    if (is_integer(input) && digits >= 0) return integer_of(input);
    if (!std::isfinite(number)) return number;
    const double result = rounded(number, digits);
    if (is_integer(input) && std::fabs(result) < 9e18) return static_cast<int64_t>(result);
    return result;
  }
  const double unit = std::pow(10.0, static_cast<double>(digits));
  if (method == "ceil") return std::ceil(number * unit) / unit;
  if (method == "floor") return std::floor(number * unit) / unit;
  context.fail("round has the methods common, ceil and floor");
}

// ---- anything

Value filter_length(Context& context, const Value& input, const Arguments& arguments) {
  const Parameters none(context, "length", arguments, {});
  return length_of(context, input);
}

Value filter_default(Context& context, const Value& input, const Arguments& arguments) {
  const Parameters given(context, "default", arguments, {"default_value", "boolean"});
  const bool replaced = is_undefined(input) || (given.truth(1, false) && !is_true(input));
  if (!replaced) return input;
  return given.at(0) != nullptr ? *given.at(0) : make_text(context, Text());
}

Value filter_attr(Context& context, const Value& input, const Arguments& arguments) {
  const Parameters given(context, "attr", arguments, {"name"});
  const std::string& name = given.text(0).bytes();
  if (is_undefined(input)) return Undefined{};
  // Attributes alone, not the keys of a dictionary.
  if (dict_of(input) != nullptr) return Undefined{};
  Value found = attribute(context, input, name);
  return is_undefined(found) ? Undefined{} : std::move(found);
}

Value filter_tojson(Context& context, const Value& input, const Arguments& arguments) {
  const Parameters given(context, "tojson", arguments,
                         {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonLayout layout;
  layout.ensure_ascii = given.truth(0, false);
  layout.sort_keys = given.truth(3, false);
  const Value* indent = given.at(1);
  if (indent != nullptr && !is_none(*indent)) {
    const Text* text = text_of(*indent);
    layout.indent = text != nullptr ? text->bytes() : spaces(context, given.integer(1, 0));
    layout.item_separator = ",";
  }
  if (given.at(2) != nullptr && !is_none(*given.at(2))) {
    const List* both = sequence_of(*given.at(2));
    if (both == nullptr || both->items.size() != 2 || text_of(both->items[0]) == nullptr ||
        text_of(both->items[1]) == nullptr) {
      context.fail("the argument \"separators\" of tojson is no pair of strings");
    }
    layout.item_separator = text_of(both->items[0])->bytes();
    layout.key_separator = text_of(both->items[1])->bytes();
  }
  return make_text(context, json_text(context, input, layout));
}

struct Named {
  std::string_view name;
  Filter filter;
};

constexpr Named kFilters[] = {
    {"abs", filter_abs},
    {"attr", filter_attr},
    {"batch", filter_batch},
    {"capitalize", change_filter<capitalize>},
    {"count", filter_length},
    {"d", filter_default},
    {"default", filter_default},
    {"dictsort", filter_dictsort},
    {"e", filter_escape},
    {"escape", filter_escape},
    {"first", filter_first},
    {"float", filter_float},
    {"groupby", filter_groupby},
    {"indent", filter_indent},
    {"int", filter_int},
    {"items", filter_items},
    {"join", filter_join},
    {"last", filter_last},
    {"length", filter_length},
    {"list", filter_list},
    {"lower", change_filter<lower>},
    {"map", filter_map},
    {"max", filter_max},
    {"min", filter_min},
    {"reject", filter_reject},
    {"rejectattr", filter_rejectattr},
    {"replace", filter_replace},
    {"reverse", filter_reverse},
    {"round", filter_round},
    {"safe", filter_safe},
    {"select", filter_select},
    {"selectattr", filter_selectattr},
    {"slice", filter_slice},
    {"sort", filter_sort},
    {"string", filter_string},
    {"sum", filter_sum},
    {"title", change_filter<title_of_filter>},
    {"tojson", filter_tojson},
    {"trim", filter_trim},
    {"unique", filter_unique},
    {"upper", change_filter<upper>},
};

}  // namespace

Filter find_filter(std::string_view name) {
  const auto* found = std::find_if(std::begin(kFilters), std::end(kFilters),
                                   [&](const Named& one) { return one.name == name; });
  return found == std::end(kFilters) ? nullptr : found->filter;
}

}  // namespace tristill::jinja
