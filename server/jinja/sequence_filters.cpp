#include "server/jinja/sequence_filters.h"

#include <algorithm>

#include "server/jinja/arguments.h"
#include "server/jinja/characters.h"
#include "server/jinja/operations.h"
#include "server/jinja/predicates.h"
#include "server/jinja/strings.h"

namespace tristill::jinja {
namespace {

// By which elements are compared: an attribute of them if given, in lower case unless case counts.
Value key_of(Context& context, const Value& item, const Value* attribute, bool case_sensitive) {
  Value key = attribute == nullptr || is_none(*attribute)
                  ? item
                  : attribute_path(context, item, *attribute);
  if (case_sensitive || text_of(key) == nullptr) return key;
  return make_text(context, lower(context, *text_of(key)));
}

struct Keyed {
  std::vector<Value> keys;
  Value value;
};

void sort_by_keys(Context& context, std::vector<Keyed>& items, bool reverse) {
  const auto before = [&](const Keyed& a, const Keyed& b) {
    for (size_t i = 0; i < a.keys.size(); ++i) {
      if (!equals(context, a.keys[i], b.keys[i])) return is_less(context, a.keys[i], b.keys[i]);
    }
    return false;
  };
  std::stable_sort(items.begin(), items.end(), [&](const Keyed& a, const Keyed& b) {
    return reverse ? before(b, a) : before(a, b);
  });
}

Value list_of_values(Context& context, std::vector<Keyed> items) {
  std::vector<Value> values;
  for (Keyed& item : items) values.push_back(std::move(item.value));
  return make_list(context, std::move(values));
}

// The arguments from number n on.
Arguments arguments_from(const Arguments& arguments, size_t n) {
  Arguments rest;
  const size_t begin = std::min(n, arguments.positional.size());
  rest.positional.assign(arguments.positional.begin() + static_cast<long>(begin),
                         arguments.positional.end());
  rest.named = arguments.named;
  return rest;
}

const Text& name_argument(Context& context, const char* what, const Arguments& arguments,
                          size_t i) {
  const Text* name = i < arguments.positional.size() ? text_of(arguments.positional[i]) : nullptr;
  if (name == nullptr) context.fail(std::string(what) + " needs a name as its argument");
  return *name;
}

// map, select and their like take what is false for empty, none too.
bool is_nothing(const Value& input) { return !is_true(input); }

// Elements of which a test, named by argument number first_argument, says wanted; without one,
// those that are true or not.
template <class Subject>
Value selected(Context& context, const Value& input, const Arguments& arguments,
               size_t first_argument, bool wanted, const Subject& subject) {
  if (is_nothing(input)) return make_list(context, {}, List::Kind::lazy);
  Predicate predicate = nullptr;
  Arguments rest;
  if (arguments.positional.size() > first_argument) {
    const Text& name = name_argument(context, "select", arguments, first_argument);
    predicate = find_predicate(name.bytes());
    if (predicate == nullptr) context.fail("there is no test \"" + name.bytes() + "\" here");
    rest = arguments_from(arguments, first_argument + 1);
  }
  std::vector<Value> kept;
  const ListPtr items = items_of(context, input);
  for (const Value& item : items->items) {
    context.step();
    const Value value = subject(item);
    const bool found = predicate != nullptr ? predicate(context, value, rest) : is_true(value);
    if (found == wanted) kept.push_back(item);
  }
  return make_list(context, std::move(kept), List::Kind::lazy);
}

Value selected_by_attribute(Context& context, const Value& input, const Arguments& arguments,
                            bool wanted) {
  if (arguments.positional.empty()) context.fail("selectattr needs an attribute's name");
  const Value& path = arguments.positional[0];
  return selected(context, input, arguments, 1, wanted,
                  [&](const Value& item) { return attribute_path(context, item, path); });
}

Value extreme(Context& context, const Value& input, const Arguments& arguments, bool greatest) {
  const Parameters given(context, "min", arguments, {"case_sensitive", "attribute"});
  const ListPtr items = items_of(context, input);
  if (items->items.empty()) return Undefined{};
  const auto key = [&](const Value& item) {
    return key_of(context, item, given.at(1), given.truth(0, false));
  };
  size_t best = 0;
  Value best_key = key(items->items[0]);
  for (size_t i = 1; i < items->items.size(); ++i) {
    Value other = key(items->items[i]);
    const bool better =
        greatest ? is_less(context, best_key, other) : is_less(context, other, best_key);
    if (!better) continue;
    best = i;
    best_key = std::move(other);
  }
  return items->items[best];
}

}  // namespace

Value filter_first(Context& context, const Value& input, const Arguments& arguments) {
  const Parameters none(context, "first", arguments, {});
  if (const Text* text = text_of(input)) {
    if (text->empty()) return Undefined{};
    return make_text(context, text->slice(0, character_at(text->bytes(), 0).length));
  }
  const ListPtr items = items_of(context, input);
  return items->items.empty() ? Undefined{} : items->items.front();
}

Value filter_last(Context& context, const Value& input, const Arguments& arguments) {
  const Parameters none(context, "last", arguments, {});
  if (const Text* text = text_of(input)) {
    if (text->empty()) return Undefined{};
    const size_t begin = character_before(text->bytes(), text->size());
    return make_text(context, text->slice(begin, text->size()));
  }
  const ListPtr items = items_of(context, input);
  return items->items.empty() ? Undefined{} : items->items.back();
}

Value filter_list(Context& context, const Value& input, const Arguments& arguments) {
  const Parameters none(context, "list", arguments, {});
  return make_list(context, items_of(context, input)->items);
}

Value filter_join(Context& context, const Value& input, const Arguments& arguments) {
  const Parameters given(context, "join", arguments, {"d", "attribute"});
  const Text separator = given.at(0) != nullptr ? to_text(context, *given.at(0)) : Text();
  const ListPtr items = items_of(context, input);
  const Value* attribute = given.at(1);
  if (attribute == nullptr || is_none(*attribute)) {
    return make_text(context, join(context, items->items, separator));
  }
  std::vector<Value> values;
  for (const Value& item : items->items) {
    values.push_back(attribute_path(context, item, *attribute));
  }
  return make_text(context, join(context, values, separator));
}

Value filter_reverse(Context& context, const Value& input, const Arguments& arguments) {
  const Parameters none(context, "reverse", arguments, {});
  if (text_of(input) != nullptr) return slice(context, input, {.step = int64_t{-1}});
  const ListPtr items = items_of(context, input);
  return make_list(context, {items->items.rbegin(), items->items.rend()}, List::Kind::lazy);
}

Value filter_map(Context& context, const Value& input, const Arguments& arguments) {
  if (is_nothing(input)) return make_list(context, {}, List::Kind::lazy);
  const ListPtr items = items_of(context, input);
  std::vector<Value> mapped;
  if (arguments.positional.empty()) {
    const Parameters given(context, "map", arguments, {"attribute", "default"});
    for (const Value& item : items->items) {
      Value value = attribute_path(context, item, given.required(0));
      const bool replaced = is_undefined(value) && given.at(1) != nullptr;
      mapped.push_back(replaced ? *given.at(1) : std::move(value));
    }
  } else {
    const Text& name = name_argument(context, "map", arguments, 0);
    const Filter filter = find_filter(name.bytes());
    if (filter == nullptr) context.fail("there is no filter \"" + name.bytes() + "\" here");
    const Context::Level level(context);
    const Arguments rest = arguments_from(arguments, 1);
    for (const Value& item : items->items) mapped.push_back(filter(context, item, rest));
  }
  return make_list(context, std::move(mapped), List::Kind::lazy);
}

Value filter_select(Context& context, const Value& input, const Arguments& arguments) {
  return selected(context, input, arguments, 0, true, [](const Value& item) { return item; });
}

Value filter_reject(Context& context, const Value& input, const Arguments& arguments) {
  return selected(context, input, arguments, 0, false, [](const Value& item) { return item; });
}

Value filter_selectattr(Context& context, const Value& input, const Arguments& arguments) {
  return selected_by_attribute(context, input, arguments, true);
}

Value filter_rejectattr(Context& context, const Value& input, const Arguments& arguments) {
  return selected_by_attribute(context, input, arguments, false);
}

Value filter_items(Context& context, const Value& input, const Arguments& arguments) {
  const Parameters none(context, "items", arguments, {});
  std::vector<Value> pairs;
  const Dict* dict = dict_of(input);
  if (dict == nullptr && !is_undefined(input)) {
    context.fail("items is given " + describe(input) + "; accepted is a dictionary");
  }
  if (dict != nullptr) {
    for (const auto& [key, value] : dict->entries) {
      pairs.push_back(make_list(context, {key, value}, List::Kind::tuple));
    }
  }
  return make_list(context, std::move(pairs), List::Kind::lazy);
}

Value filter_unique(Context& context, const Value& input, const Arguments& arguments) {
  const Parameters given(context, "unique", arguments, {"case_sensitive", "attribute"});
  std::vector<Value> seen;
  std::vector<Value> kept;
  const ListPtr items = items_of(context, input);
  for (const Value& item : items->items) {
    Value key = key_of(context, item, given.at(1), given.truth(0, false));
    check_hashable(context, key);
    const bool known = std::any_of(seen.begin(), seen.end(),
                                   [&](const Value& one) { return equals(context, one, key); });
    if (known) continue;
    seen.push_back(std::move(key));
    kept.push_back(item);
  }
  return make_list(context, std::move(kept), List::Kind::lazy);
}

Value filter_sort(Context& context, const Value& input, const Arguments& arguments) {
  const Parameters given(context, "sort", arguments, {"reverse", "case_sensitive", "attribute"});
  const Text* names = given.text_or_null(2);
  std::vector<Value> attributes;
  if (names != nullptr) {
    const Text comma(",", Origin::data);
    attributes = split(context, *names, &comma, -1, false);
  }
  std::vector<Keyed> items;
  const ListPtr list = items_of(context, input);
  for (const Value& item : list->items) {
    context.step();
    Keyed keyed{{}, item};
    for (const Value& name : attributes) {
      keyed.keys.push_back(key_of(context, item, &name, given.truth(1, false)));
    }
    if (names == nullptr) {
      keyed.keys.push_back(key_of(context, item, nullptr, given.truth(1, false)));
    }
    items.push_back(std::move(keyed));
  }
  sort_by_keys(context, items, given.truth(0, false));
  return list_of_values(context, std::move(items));
}

Value filter_dictsort(Context& context, const Value& input, const Arguments& arguments) {
  const Parameters given(context, "dictsort", arguments, {"case_sensitive", "by", "reverse"});
  const Dict* dict = dict_of(input);
  if (dict == nullptr) context.fail("dictsort is given " + describe(input));
  const std::string by = given.at(1) != nullptr ? given.text(1).bytes() : "key";
  if (by != "key" && by != "value") context.fail("dictsort sorts by key or by value");
  std::vector<Keyed> items;
  for (const auto& [key, value] : dict->entries) {
    const Value& compared = by == "key" ? key : value;
    items.push_back({{key_of(context, compared, nullptr, given.truth(0, false))},
                     make_list(context, {key, value}, List::Kind::tuple)});
  }
  sort_by_keys(context, items, given.truth(2, false));
  return list_of_values(context, std::move(items));
}

Value filter_min(Context& context, const Value& input, const Arguments& arguments) {
  return extreme(context, input, arguments, false);
}

Value filter_max(Context& context, const Value& input, const Arguments& arguments) {
  return extreme(context, input, arguments, true);
}

Value filter_sum(Context& context, const Value& input, const Arguments& arguments) {
  const Parameters given(context, "sum", arguments, {"attribute", "start"});
  Value total = given.at(1) != nullptr ? *given.at(1) : int64_t{0};
  const bool has_attribute = given.at(0) != nullptr && !is_none(*given.at(0));
  const ListPtr items = items_of(context, input);
  for (const Value& item : items->items) {
    total = calculate(context, total, Operator::add,
                      has_attribute ? attribute_path(context, item, *given.at(0)) : item);
  }
  return total;
}

Value filter_batch(Context& context, const Value& input, const Arguments& arguments) {
  const Parameters given(context, "batch", arguments, {"linecount", "fill_with"});
  const int64_t size = given.integer(0, 0);
  if (size < 1 || size > 1 << 16) context.fail("batch takes a size from 1 to 65536");
  const Value* fill = given.at(1) != nullptr && !is_none(*given.at(1)) ? given.at(1) : nullptr;
  std::vector<Value> rows;
  const ListPtr items = items_of(context, input);
  for (size_t at = 0; at < items->items.size(); at += static_cast<size_t>(size)) {
    const size_t end = std::min(at + static_cast<size_t>(size), items->items.size());
    std::vector<Value> row(items->items.begin() + static_cast<long>(at),
                           items->items.begin() + static_cast<long>(end));
    if (fill != nullptr) row.resize(static_cast<size_t>(size), *fill);
    rows.push_back(make_list(context, std::move(row)));
  }
  return make_list(context, std::move(rows), List::Kind::lazy);
}

Value filter_slice(Context& context, const Value& input, const Arguments& arguments) {
  const Parameters given(context, "slice", arguments, {"slices", "fill_with"});
  const int64_t n = given.integer(0, 0);
  if (n < 1 || n > 1 << 16) context.fail("slice takes a number of slices from 1 to 65536");
  const Value* fill = given.at(1) != nullptr && !is_none(*given.at(1)) ? given.at(1) : nullptr;
  const ListPtr items = items_of(context, input);
  const auto slices = static_cast<size_t>(n);
  const size_t least = items->items.size() / slices;
  const size_t longer = items->items.size() % slices;
  std::vector<Value> columns;
  auto from = items->items.begin();
  for (size_t i = 0; i < slices; ++i) {
    const auto to = from + static_cast<long>(least + (i < longer ? 1 : 0));
    std::vector<Value> column(from, to);
    if (fill != nullptr && i >= longer) column.push_back(*fill);
    columns.push_back(make_list(context, std::move(column)));
    from = to;
  }
  return make_list(context, std::move(columns), List::Kind::lazy);
}

Value filter_groupby(Context& context, const Value& input, const Arguments& arguments) {
  const Parameters given(context, "groupby", arguments, {"attribute", "default", "case_sensitive"});
  const auto attribute = [&](const Value& item) {
    Value value = attribute_path(context, item, given.required(0));
    const bool replaced = is_undefined(value) && given.at(1) != nullptr;
    return replaced ? *given.at(1) : value;
  };
  std::vector<Keyed> items;
  const ListPtr list = items_of(context, input);
  for (const Value& item : list->items) {
    context.step();
    items.push_back({{key_of(context, attribute(item), nullptr, given.truth(2, false))}, item});
  }
  sort_by_keys(context, items, false);
  std::vector<Value> groups;
  for (size_t at = 0; at < items.size();) {
    std::vector<Value> group;
    const size_t first = at;
    for (; at < items.size() && equals(context, items[at].keys[0], items[first].keys[0]); ++at) {
      group.push_back(items[at].value);
    }
    if (at == first) ++at;  // not a number: equal to nothing
    Value grouper = attribute(items[first].value);
    groups.push_back(make_list(context, {std::move(grouper), make_list(context, std::move(group))},
                               List::Kind::tuple));
  }
  return make_list(context, std::move(groups));
}

}  // namespace tristill::jinja
