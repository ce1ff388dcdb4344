#include "server/openai/schema_parts.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace tristill::openai {
namespace {

constexpr int kMaxDepth = 40;  // of what is merged or compared
constexpr int kMaxReferences = 16;  // from one to the next, where schemas are compared

// RFC 3986 and RFC 6901: %XX, then ~1 and ~0.
std::string unescaped(std::string_view token) {
  std::string bytes;
  for (size_t i = 0; i < token.size(); ++i) {
    unsigned byte = 0;
    const std::string_view hex = token.substr(i + 1, 2);
    const bool escaped =
        token[i] == '%' && hex.size() == 2 &&
        std::from_chars(hex.data(), hex.data() + 2, byte, 16).ptr == hex.data() + 2;
    bytes += escaped ? static_cast<char>(byte) : token[i];
    if (escaped) i += 2;
  }
  std::string name;
  for (size_t i = 0; i < bytes.size(); ++i) {
    const bool escaped = bytes[i] == '~' && i + 1 < bytes.size();
    if (escaped && bytes[i + 1] == '1') name += '/';
    else if (escaped && bytes[i + 1] == '0') name += '~';
    else name += bytes[i];
    if (escaped && (bytes[i + 1] == '0' || bytes[i + 1] == '1')) ++i;
  }
  return name;
}

Error disagreement(const std::string& keyword) {
  return {ErrorCode::invalid_argument, "says two things that cannot be made one", keyword};
}

std::vector<Schema> values_of(const Schema& schema) {
  if (schema.contains("const")) return {schema["const"]};
  if (!schema["enum"].is_array()) return {};
  return {schema["enum"].begin(), schema["enum"].end()};
}

bool has_values(const Schema& schema) {
  return schema.is_object() && (schema.contains("const") || schema.contains("enum"));
}

Result<Schema> merge_within(const Schema& a, const Schema& b, int depth);

Result<Schema> merge_types(const Schema& a, const Schema& b) {
  const auto x = types_of({{"type", a}}), y = types_of({{"type", b}});
  if (!x || !y) return disagreement("type");
  Schema both = Schema::array();
  for (const std::string& type : *x) {
    if (y->contains(type)) both.push_back(type);
  }
  return both;
}

// The other schema's properties must be known to the one that closes itself to all others.
bool closes_out(const Schema& closed, const Schema& other) {
  if (!closed.contains("additionalProperties") || closed["additionalProperties"] == true) {
    return false;
  }
  if (!other.contains("properties") || !other["properties"].is_object()) return false;
  for (const auto& [name, ignored] : other["properties"].items()) {
    if (!closed.contains("properties") || !closed["properties"].contains(name)) return true;
  }
  return false;
}

Result<Schema> merge_properties(const Schema& a, const Schema& b, int depth) {
  if (!a.is_object() || !b.is_object()) return disagreement("properties");
  Schema all = a;
  for (const auto& [name, schema] : b.items()) {
    if (!all.contains(name)) {
      all[name] = schema;
      continue;
    }
    auto both = merge_within(all[name], schema, depth + 1);
    if (!both) return disagreement("properties." + name + "." + both.error().param);
    all[name] = std::move(*both);
  }
  return all;
}

Result<Schema> merge_lists(const std::string& keyword, const Schema& a, const Schema& b) {
  if (!a.is_array() || !b.is_array()) return disagreement(keyword);
  Schema all = keyword == "enum" ? Schema::array() : a;
  for (const Schema& item : b) {
    const bool in_a = std::ranges::find(a, item) != a.end();
    if (in_a == (keyword == "enum")) all.push_back(item);
  }
  return all;
}

Result<Schema> merge_keyword(const std::string& keyword, const Schema& a, const Schema& b,
                             int depth) {
  if (a == b || is_annotation(keyword)) return a;
  if (keyword == "type") return merge_types(a, b);
  if (keyword == "properties") return merge_properties(a, b, depth);
  if (keyword == "required" || keyword == "enum" || keyword == "allOf") {
    return merge_lists(keyword, a, b);
  }
  if (keyword == "items" || keyword == "additionalProperties") {
    auto both = merge_within(a, b, depth + 1);
    if (!both) return disagreement(keyword + "." + both.error().param);
    return both;
  }
  const bool numbers = a.is_number() && b.is_number();
  if (numbers && (keyword.starts_with("min") || keyword == "exclusiveMinimum"))
    return std::max(a, b);
  if (numbers && (keyword.starts_with("max") || keyword == "exclusiveMaximum"))
    return std::min(a, b);
  return disagreement(keyword);
}

Result<Schema> merge_within(const Schema& a, const Schema& b, int depth) {
  if (a == true || a == b) return b;
  if (b == true) return a;
  if (a == false || b == false) return Schema(false);
  if (depth > kMaxDepth || !a.is_object() || !b.is_object()) return disagreement("");
  if (a.contains("$ref") || b.contains("$ref")) return disagreement("$ref");
  if (closes_out(a, b) || closes_out(b, a)) return disagreement("additionalProperties");
  Schema both = a;
  for (const auto& [keyword, value] : b.items()) {
    if (!both.contains(keyword)) {
      both[keyword] = value;
      continue;
    }
    auto merged = merge_keyword(keyword, both[keyword], value, depth);
    if (!merged) return merged.error();
    both[keyword] = std::move(*merged);
  }
  return both;
}

const Schema& followed(const Schema& document, const Schema& schema) {
  const Schema* at = &schema;
  for (int i = 0; i < kMaxReferences && at->is_object() && at->contains("$ref"); ++i) {
    if (!(*at)["$ref"].is_string()) break;
    const Schema* next = find_reference(document, (*at)["$ref"].get_ref<const std::string&>());
    if (next == nullptr) break;
    at = next;
  }
  return *at;
}

const Schema* property(const Schema& schema, const std::string& name) {
  if (!schema.contains("properties") || !schema["properties"].is_object()) return nullptr;
  const auto found = schema["properties"].find(name);
  return found == schema["properties"].end() ? nullptr : &*found;
}

bool are_apart(const Schema& document, const Schema& a, const Schema& b, size_t& steps, int depth);

// A property that the one requires, and that the other forbids or holds to other values.
bool told_apart_by_property(const Schema& document, const Schema& a, const Schema& b, size_t& steps,
                            int depth) {
  if (!a.contains("required") || !a["required"].is_array()) return false;
  for (const Schema& item : a["required"]) {
    if (!item.is_string()) continue;
    const auto& name = item.get_ref<const std::string&>();
    const Schema* in_a = property(a, name);
    const Schema* in_b = property(b, name);
    const bool closed = b.contains("additionalProperties") && b["additionalProperties"] == false;
    if (in_b == nullptr && closed) return true;
    if (in_a != nullptr && in_b != nullptr && are_apart(document, *in_a, *in_b, steps, depth + 1)) {
      return true;
    }
  }
  return false;
}

// steps are what may still be looked at: when they are used up, nothing is evident any more.
bool are_apart(const Schema& document, const Schema& first, const Schema& second, size_t& steps,
               int depth) {
  if (steps == 0 || depth > kMaxDepth) return false;
  --steps;
  const Schema& a = followed(document, first);
  const Schema& b = followed(document, second);
  if (a == false || b == false) return true;
  if (!a.is_object() || !b.is_object()) return false;
  const auto x = types_of(a), y = types_of(b);
  if (x && y && std::ranges::none_of(*x, [&](const auto& type) { return y->contains(type); })) {
    return true;
  }
  if (has_values(a) && has_values(b)) {
    const auto others = values_of(b);
    const size_t pairs = values_of(a).size() * others.size();
    if (pairs > steps) return false;
    steps -= pairs;
    return std::ranges::none_of(values_of(a), [&](const Schema& value) {
      return std::ranges::find(others, value) != others.end();
    });
  }
  const std::set<std::string> object = {"object"};
  if (x != object || y != object) return false;
  return told_apart_by_property(document, a, b, steps, depth) ||
         told_apart_by_property(document, b, a, steps, depth);
}

}  // namespace

size_t count_nodes(const Schema& schema) {
  size_t n = 1;
  if (schema.is_structured()) {
    for (const Schema& inner : schema) n += count_nodes(inner);
  }
  return n;
}

const Schema* find_reference(const Schema& document, std::string_view reference) {
  if (!reference.starts_with('#')) return nullptr;
  std::string_view rest = reference.substr(1);
  const Schema* at = &document;
  while (!rest.empty()) {
    if (rest[0] != '/') return nullptr;
    const size_t end = std::min(rest.find('/', 1), rest.size());
    const std::string name = unescaped(rest.substr(1, end - 1));
    rest.remove_prefix(end);
    if (at->is_object()) {
      const auto found = at->find(name);
      if (found == at->end()) return nullptr;
      at = &*found;
    } else if (at->is_array()) {
      size_t index = 0;
      const char* last = name.data() + name.size();
      if (std::from_chars(name.data(), last, index).ptr != last || index >= at->size()) {
        return nullptr;
      }
      at = &(*at)[index];
    } else {
      return nullptr;
    }
  }
  return at;
}

bool is_annotation(std::string_view keyword) {
  constexpr std::array kConstraining = {"$ref",
                                        "$dynamicRef",
                                        "$recursiveRef",
                                        "additionalItems",
                                        "additionalProperties",
                                        "allOf",
                                        "anyOf",
                                        "const",
                                        "contains",
                                        "dependencies",
                                        "dependentRequired",
                                        "dependentSchemas",
                                        "else",
                                        "enum",
                                        "exclusiveMaximum",
                                        "exclusiveMinimum",
                                        "format",
                                        "if",
                                        "items",
                                        "maxContains",
                                        "maxItems",
                                        "maxLength",
                                        "maxProperties",
                                        "maximum",
                                        "minContains",
                                        "minItems",
                                        "minLength",
                                        "minProperties",
                                        "minimum",
                                        "multipleOf",
                                        "not",
                                        "oneOf",
                                        "pattern",
                                        "patternProperties",
                                        "prefixItems",
                                        "properties",
                                        "propertyNames",
                                        "required",
                                        "then",
                                        "type",
                                        "unevaluatedItems",
                                        "unevaluatedProperties",
                                        "uniqueItems"};
  return std::ranges::find(kConstraining, keyword) == kConstraining.end();
}

std::string type_of(const Schema& value) {
  if (value.is_number()) {
    if (value.is_number_integer()) return "integer";
    const double number = value.get<double>();
    return number == std::floor(number) ? "integer" : "number";
  }
  return value.type_name();
}

std::optional<std::set<std::string>> types_of(const Schema& schema) {
  std::set<std::string> types;
  const auto type = schema.find("type");
  if (has_values(schema)) {
    for (const Schema& value : values_of(schema)) types.insert(type_of(value));
  } else if (type == schema.end()) {
    return std::nullopt;
  } else if (type->is_string()) {
    types.insert(type->get<std::string>());
  } else if (type->is_array()) {
    for (const Schema& one : *type) {
      if (one.is_string()) types.insert(one.get<std::string>());
    }
  }
  if (types.contains("number") && !has_values(schema)) types.insert("integer");
  return types;
}

Result<Schema> merge(const Schema& a, const Schema& b) { return merge_within(a, b, 0); }

bool are_disjoint(const Schema& document, const Schema& a, const Schema& b, size_t& steps) {
  return are_apart(document, a, b, steps, 0);
}

}  // namespace tristill::openai
