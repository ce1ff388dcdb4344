#include "server/openai/response_format.h"

#include <algorithm>
#include <optional>
#include <string>

#include "base/check.h"
#include "model/grammar/gbnf.h"
#include "server/openai/json_schema.h"

namespace tristill::openai {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

// The text of a member of an object, of the last of that name; the text is valid JSON.
std::string_view member_of(std::string_view object, std::string_view name) {
  std::string_view found;
  const auto past_string = [&](size_t at) {  // at is the opening quote
    for (++at; object[at] != '"'; ++at) {
      if (object[at] == '\\') ++at;
    }
    return at + 1;
  };
  size_t at = object.find('{') + 1;
  while ((at = object.find_first_of("\"}", at)) != std::string_view::npos && object[at] == '"') {
    const size_t name_end = past_string(at);
    const bool is_it = json::parse(object.substr(at, name_end - at)) == name;
    const size_t begin = object.find(':', name_end) + 1;
    int depth = 0;
    for (at = begin; depth > 0 || (object[at] != ',' && object[at] != '}');) {
      if (object[at] == '"') {
        at = past_string(at);
        continue;
      }
      if (object[at] == '{' || object[at] == '[') ++depth;
      if (object[at] == '}' || object[at] == ']') --depth;
      ++at;
    }
    if (is_it) found = object.substr(begin, at - begin);
  }
  return found;
}

// Before anything is done whose cost grows faster than the text.
std::optional<std::string> excess(const json& schema, size_t& nodes) {
  if (++nodes > kMaxSchemaNodes) return std::to_string(kMaxSchemaNodes) + " elements";
  if (!schema.is_structured()) return std::nullopt;
  if (schema.is_object() && schema.size() > kMaxSchemaMembers) {
    return std::to_string(kMaxSchemaMembers) + " members of one object";
  }
  for (const json& inner : schema) {
    if (auto reason = excess(inner, nodes)) return reason;
  }
  return std::nullopt;
}

// What stands at a path of members of the body, its properties in their order.
std::shared_ptr<const Grammar> read_schema(Fields& fields, const json& schema,
                                           std::string_view body,
                                           std::initializer_list<std::string_view> members) {
  std::string path;
  for (const auto member : members) {
    body = member_of(body, member);
    path += (path.empty() ? "" : ".") + std::string(member);
  }
  if (!schema.is_object() && !schema.is_boolean()) {
    fields.refuse(path, schema, "a JSON Schema");
    return nullptr;
  }
  size_t nodes = 0;
  if (const auto reason = excess(schema, nodes)) {
    fields.fail({ErrorCode::invalid_argument, path + " has more than " + *reason, path});
    return nullptr;
  }
  const auto ordered = ordered_json::parse(body, nullptr, /*allow_exceptions=*/false);
  CHECK(!ordered.is_discarded());
  auto grammar = read_json_schema(ordered, path);
  if (grammar) return *grammar;
  fields.fail(grammar.error());
  return nullptr;
}

std::shared_ptr<const Grammar> read_response_format(Fields& fields, std::string_view body) {
  const json* format = fields.find("response_format");
  if (format == nullptr) return nullptr;
  constexpr const char* kTypes = "an object of type \"text\", \"json_object\" or \"json_schema\"";
  const json type = format->is_object() ? format->value("type", json()) : json();
  if (type == "text") return nullptr;
  if (type == "json_object") {
    const auto schema = format->find("schema");
    if (schema == format->end() || schema->is_null()) return any_json_object();
    return read_schema(fields, *schema, body, {"response_format", "schema"});
  }
  if (type != "json_schema") {
    fields.refuse("response_format", *format, kTypes);
    return nullptr;
  }
  const auto named = format->find("json_schema");
  if (named == format->end() || !named->is_object()) {
    fields.refuse("response_format.json_schema", named == format->end() ? json() : *named,
                  "an object with a name and a schema");
    return nullptr;
  }
  const json name = named->value("name", json());
  if (!name.is_string() || name.get_ref<const std::string&>().empty()) {
    fields.refuse("response_format.json_schema.name", name, "a name of the schema");
  }
  const json strict = named->value("strict", json());
  if (!strict.is_null() && !strict.is_boolean()) {
    fields.refuse("response_format.json_schema.strict", strict, "true or false");
  }
  if (fields.error()) return nullptr;
  const auto schema = named->find("schema");
  if (schema == named->end() || schema->is_null()) return any_json_object();
  return read_schema(fields, *schema, body, {"response_format", "json_schema", "schema"});
}

std::shared_ptr<const Grammar> read_grammar(Fields& fields) {
  std::shared_ptr<const Grammar> grammar;
  fields.text("grammar", [&](const std::string& text) {
    if (text.empty()) return;
    auto read = read_gbnf(text);
    if (read) grammar = *read;
    else fields.fail(read.error());
  });
  return grammar;
}

}  // namespace

std::shared_ptr<const Grammar> read_output_form(Fields& fields, std::string_view body) {
  auto form = read_response_format(fields, body);
  const auto take = [&](const char* name, std::shared_ptr<const Grammar> other) {
    if (other == nullptr) return;
    if (form != nullptr) {
      fields.fail({ErrorCode::invalid_argument,
                   std::string(name) + " stands beside another form of the output; accepted is one "
                                       "of response_format, json_schema and grammar",
                   name});
    }
    form = std::move(other);
  };
  const json* schema = fields.find("json_schema");
  if (schema != nullptr) take("json_schema", read_schema(fields, *schema, body, {"json_schema"}));
  take("grammar", read_grammar(fields));
  return fields.error() ? nullptr : form;
}

}  // namespace tristill::openai
