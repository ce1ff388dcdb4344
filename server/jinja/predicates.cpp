#include "server/jinja/predicates.h"

#include <algorithm>
#include <cmath>

#include "server/jinja/arguments.h"
#include "server/jinja/characters.h"
#include "server/jinja/filters.h"
#include "server/jinja/operations.h"

namespace tristill::jinja {
namespace {

void takes_nothing(Context& context, std::string_view what, const Arguments& arguments) {
  const Parameters none(context, what, arguments, {});
}

bool is_mapping(const Value& value) { return dict_of(value) != nullptr; }
bool is_text(const Value& value) { return text_of(value) != nullptr; }
bool is_boolean(const Value& value) { return std::holds_alternative<bool>(value); }
bool is_whole(const Value& value) { return std::holds_alternative<int64_t>(value); }
bool is_floating(const Value& value) { return std::holds_alternative<double>(value); }
bool is_defined(const Value& value) { return !is_undefined(value); }
bool is_callable(const Value& value) {
  return std::holds_alternative<FunctionPtr>(value) || is_undefined(value);
}
bool is_iterable(const Value& value) {
  return is_undefined(value) || is_text(value) || list_of(value) != nullptr || is_mapping(value) ||
         std::holds_alternative<LoopPtr>(value);
}
// What has a length and takes a key: by Python's rules a dictionary and an undefined value too.
bool is_sequence(const Value& value) {
  return is_undefined(value) || is_text(value) || sequence_of(value) != nullptr ||
         is_mapping(value);
}
bool is_true_itself(const Value& value) { return is_boolean(value) && is_true(value); }
bool is_false_itself(const Value& value) { return is_boolean(value) && !is_true(value); }

// A test without arguments.
template <bool (*test)(const Value&)>
bool simple(Context& context, const Value& value, const Arguments& arguments) {
  takes_nothing(context, "the test", arguments);
  return test(value);
}

// A test that compares with its argument.
template <Relation relation>
bool compared(Context& context, const Value& value, const Arguments& arguments) {
  const Parameters given(context, "the test", arguments, {"other"});
  return holds(context, value, relation, given.required(0));
}

bool same_as(Context& context, const Value& value, const Arguments& arguments) {
  const Parameters given(context, "the test sameas", arguments, {"other"});
  const Value& other = given.required(0);
  if (value.index() != other.index()) return false;
  if (const auto* list = std::get_if<ListPtr>(&value)) return *list == std::get<ListPtr>(other);
  if (const auto* dict = std::get_if<DictPtr>(&value)) return *dict == std::get<DictPtr>(other);
  return equals(context, value, other);
}

bool divisible_by(Context& context, const Value& value, const Arguments& arguments) {
  const Parameters given(context, "the test divisibleby", arguments, {"num"});
  return !is_true(calculate(context, value, Operator::modulo, given.required(0)));
}

template <int remainder>
bool halved(Context& context, const Value& value, const Arguments& arguments) {
  takes_nothing(context, "the test", arguments);
  return equals(context, calculate(context, value, Operator::modulo, int64_t{2}),
                int64_t{remainder});
}

// At least one letter with a case, none of the other.
template <bool (*wanted)(char32_t), bool (*other)(char32_t)>
bool cased(Context& context, const Value& value, const Arguments& arguments) {
  takes_nothing(context, "the test", arguments);
  const Text text = to_text(context, value);
  const std::u32string codes = decode_characters(text.bytes());
  return std::any_of(codes.begin(), codes.end(), wanted) &&
         std::none_of(codes.begin(), codes.end(), other);
}

template <auto find>
bool names_one(Context& context, const Value& value, const Arguments& arguments) {
  takes_nothing(context, "the test", arguments);
  const Text* name = text_of(value);
  return name != nullptr && find(name->bytes()) != nullptr;
}

struct Named {
  std::string_view name;
  Predicate predicate;
};

constexpr Named kPredicates[] = {
    {"!=", compared<Relation::not_equal>},
    {"<", compared<Relation::less>},
    {"<=", compared<Relation::less_equal>},
    {"==", compared<Relation::equal>},
    {">", compared<Relation::greater>},
    {">=", compared<Relation::greater_equal>},
    {"boolean", simple<is_boolean>},
    {"callable", simple<is_callable>},
    {"defined", simple<is_defined>},
    {"divisibleby", divisible_by},
    {"eq", compared<Relation::equal>},
    {"equalto", compared<Relation::equal>},
    {"even", halved<0>},
    {"false", simple<is_false_itself>},
    {"filter", names_one<find_filter>},
    {"float", simple<is_floating>},
    {"ge", compared<Relation::greater_equal>},
    {"greaterthan", compared<Relation::greater>},
    {"gt", compared<Relation::greater>},
    {"in", compared<Relation::in>},
    {"integer", simple<is_whole>},
    {"iterable", simple<is_iterable>},
    {"le", compared<Relation::less_equal>},
    {"lessthan", compared<Relation::less>},
    {"lower", cased<is_lower, is_upper>},
    {"lt", compared<Relation::less>},
    {"mapping", simple<is_mapping>},
    {"ne", compared<Relation::not_equal>},
    {"none", simple<is_none>},
    {"number", simple<is_number>},
    {"odd", halved<1>},
    {"sameas", same_as},
    {"sequence", simple<is_sequence>},
    {"string", simple<is_text>},
    {"test", names_one<find_predicate>},
    {"true", simple<is_true_itself>},
    {"undefined", simple<is_undefined>},
    {"upper", cased<is_upper, is_lower>},
};

}  // namespace

Predicate find_predicate(std::string_view name) {
  const auto* found = std::find_if(std::begin(kPredicates), std::end(kPredicates),
                                   [&](const Named& one) { return one.name == name; });
  return found == std::end(kPredicates) ? nullptr : found->predicate;
}

}  // namespace tristill::jinja
