// A validator of JSON Schema that shares nothing with the one that writes grammars: whether a value
// matches, for the keywords that tests/server/cases/json_schemas.jsonl uses. Patterns are POSIX's.
#pragma once

#include <regex.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

#include "base/utf8.h"

namespace tristill::test {

class SchemaValidator {
 public:
  using json = nlohmann::ordered_json;
  explicit SchemaValidator(const json& document) : document_(document) {}

  bool matches(const json& value) const { return matches(document_, value); }

 private:
  bool matches(const json& schema, const json& value) const {
    if (schema.is_boolean()) return schema.get<bool>();
    for (const auto& [keyword, rule] : schema.items()) {
      if (!keeps(schema, keyword, rule, value)) return false;
    }
    return true;
  }

  bool keeps(const json& schema, const std::string& keyword, const json& rule,
             const json& value) const {
    const bool number = value.is_number(), text = value.is_string();
    if (keyword == "$ref")
      return matches(document_.at(json::json_pointer(rule.get<std::string>().substr(1))), value);
    if (keyword == "type") return has_type(rule, value);
    if (keyword == "const") return value == rule;
    if (keyword == "enum") return count(rule, [&](const json& one) { return one == value; }) > 0;
    if (keyword == "allOf")
      return count(rule, [&](const json& s) { return matches(s, value); }) == rule.size();
    if (keyword == "anyOf")
      return count(rule, [&](const json& s) { return matches(s, value); }) > 0;
    if (keyword == "oneOf")
      return count(rule, [&](const json& s) { return matches(s, value); }) == 1;
    if (keyword == "minimum") return !number || value.get<double>() >= rule.get<double>();
    if (keyword == "maximum") return !number || value.get<double>() <= rule.get<double>();
    if (keyword == "exclusiveMinimum") return !number || value.get<double>() > rule.get<double>();
    if (keyword == "exclusiveMaximum") return !number || value.get<double>() < rule.get<double>();
    if (keyword == "multipleOf")
      return !number || std::fmod(value.get<double>(), rule.get<double>()) == 0;
    if (keyword == "minLength") return !text || utf8_length(value.get<std::string>()) >= rule;
    if (keyword == "maxLength") return !text || utf8_length(value.get<std::string>()) <= rule;
    if (keyword == "pattern") return !text || finds(rule, value);
    if (value.is_array()) return keeps_items(schema, keyword, rule, value);
    if (value.is_object()) return keeps_members(schema, keyword, rule, value);
    return true;
  }

  bool keeps_items(const json& schema, const std::string& keyword, const json& rule,
                   const json& value) const {
    if (keyword == "minItems") return value.size() >= rule;
    if (keyword == "maxItems") return value.size() <= rule;
    const size_t n_prefix = schema.contains("prefixItems") ? schema["prefixItems"].size() : 0;
    for (size_t i = 0; i < value.size(); ++i) {
      if (keyword == "items" && i >= n_prefix && !matches(rule, value[i])) return false;
      if (keyword == "prefixItems" && i < n_prefix && !matches(rule[i], value[i])) return false;
    }
    return true;
  }

  bool keeps_members(const json& schema, const std::string& keyword, const json& rule,
                     const json& value) const {
    if (keyword == "maxProperties") return value.size() <= rule;
    if (keyword == "required")
      return count(rule, [&](const json& n) { return value.contains(n.get<std::string>()); }) ==
             rule.size();
    for (const auto& [name, member] : value.items()) {
      const bool listed = schema.contains("properties") && schema["properties"].contains(name);
      if (keyword == "properties" && listed && !matches(rule[name], member)) return false;
      if (keyword == "additionalProperties" && !listed && !matches(rule, member)) return false;
    }
    return true;
  }

  static bool has_type(const json& rule, const json& value) {
    if (rule.is_array())
      return count(rule, [&](const json& one) { return has_type(one, value); }) > 0;
    if (rule == "integer") {
      return value.is_number_integer() ||
             (value.is_number() && value.get<double>() == std::floor(value.get<double>()));
    }
    return value.type_name() == rule.get<std::string>();
  }

  static bool finds(const json& pattern, const json& value) {
    regex_t compiled;
    if (::regcomp(&compiled, pattern.get<std::string>().c_str(), REG_EXTENDED) != 0) {
      throw std::invalid_argument("no pattern of POSIX: " + pattern.dump());
    }
    const auto text = value.get<std::string>();  // may hold NUL
    regmatch_t whole{.rm_so = 0, .rm_eo = static_cast<regoff_t>(text.size())};
    const int found = ::regexec(&compiled, text.data(), 1, &whole, REG_STARTEND);
    ::regfree(&compiled);
    return found == 0;
  }

  template <class Is>
  static size_t count(const json& list, Is is) {
    size_t n = 0;
    for (const json& item : list) n += is(item) ? 1 : 0;
    return n;
  }

  const json& document_;
};

}  // namespace tristill::test
