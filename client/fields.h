// Fields of the daemon's answers, read with tolerance: absent, null or of another type is
// "nothing", so that a newer or older daemon does not break the client. Pure functions.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace tristill::client {

// object[key] when that is there, else null.
inline const nlohmann::json& field_of(const nlohmann::json& object, const char* key) {
  static const nlohmann::json kNull;
  if (!object.is_object()) return kNull;
  const auto found = object.find(key);
  return found == object.end() ? kNull : *found;
}

inline std::string text_of(const nlohmann::json& object, const char* key) {
  const nlohmann::json& value = field_of(object, key);
  return value.is_string() ? value.get<std::string>() : std::string();
}

inline std::optional<double> number_of(const nlohmann::json& object, const char* key) {
  const nlohmann::json& value = field_of(object, key);
  if (!value.is_number()) return std::nullopt;
  return value.get<double>();
}

// A count or a time: nothing when negative or too large to be one.
inline std::optional<uint64_t> count_of(const nlohmann::json& object, const char* key) {
  const std::optional<double> value = number_of(object, key);
  if (!value || !(*value >= 0) || *value > 9e15) return std::nullopt;
  return static_cast<uint64_t>(*value);
}

inline int64_t time_of(const nlohmann::json& object, const char* key) {
  return static_cast<int64_t>(count_of(object, key).value_or(0));
}

// object[key] when it is a list, else an empty one.
inline const nlohmann::json& list_of(const nlohmann::json& object, const char* key) {
  static const nlohmann::json kEmpty = nlohmann::json::array();
  const nlohmann::json& value = field_of(object, key);
  return value.is_array() ? value : kEmpty;
}

}  // namespace tristill::client
