// What can be said of JSON Schemas by looking at them: where a reference leads, what two schemas
// demand together, whether a value can match both. Pure functions; any thread.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tristill::openai {

using Schema = nlohmann::ordered_json;  // keeps its properties in the order given

// Elements and members, at all depths.
size_t count_nodes(const Schema& schema);

// What a reference within the document names ("#", "#/$defs/node"); null when nothing is there.
const Schema* find_reference(const Schema& document, std::string_view reference);

// Whether the keyword says nothing about which values match.
bool is_annotation(std::string_view keyword);

// The types that the schema names, by `type` or by the values of `enum` or `const`; nothing when it
// names none. "number" stands beside "integer" where numbers of both kinds match.
std::optional<std::set<std::string>> types_of(const Schema& schema);
// A value's type as schemas name it: an integer's is "integer".
std::string type_of(const Schema& value);

// A schema of the values that match both; neither has a $ref. Error invalid_argument with the
// keyword about which they disagree as param, where they cannot be made one.
Result<Schema> merge(const Schema& a, const Schema& b);

// Whether it is evident that no value matches both: by their types, their values, or a property
// that tells them apart. References are looked up in the document. steps is how much may be looked
// at, and is counted down; at 0 nothing is evident.
bool are_disjoint(const Schema& document, const Schema& a, const Schema& b, size_t& steps);

}  // namespace tristill::openai
