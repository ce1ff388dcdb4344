// JSON Schema (draft 2020-12, the part that a grammar can keep) -> Grammar: every text of the
// grammar is JSON that the schema accepts. Not every JSON that it accepts is a text: properties
// come in the order given, optional ones may be left out, those that are not listed come only where
// additionalProperties is given and lets them, and numbers and whitespace are bounded
// (json_text.h). Pure functions; any thread.
//
// Kept: type and lists of types, enum, const, properties, required, additionalProperties, items,
// prefixItems, min- and maxItems, min- and maxLength, maxProperties of maps, pattern
// (model/grammar/pattern.h), format (date, time, date-time, duration, uuid, email, hostname, ipv4,
// ipv6), minimum and maximum (also exclusive; whole bounds), multipleOf 1, anyOf, allOf where its
// parts can be made one, oneOf where its parts are evidently apart, and $ref within the document,
// also to itself. Annotations are ignored. Every other keyword that restricts is refused by its
// path.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "base/result.h"
#include "model/grammar/grammar.h"

namespace tristill::openai {

constexpr size_t kMaxSchemaNodes = 20'000;  // elements and members, at all depths
constexpr size_t kMaxSchemaMembers = 2'000;  // of one object

// path is where the schema stands in the request. Errors: invalid_argument, with the path of what
// cannot be kept as param.
Result<std::shared_ptr<const Grammar>> read_json_schema(const nlohmann::ordered_json& schema,
                                                        const std::string& path);

// Any JSON object.
std::shared_ptr<const Grammar> any_json_object();

}  // namespace tristill::openai
