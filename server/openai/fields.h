// Fields: reads one JSON object field by field, remembers which were read, and words refusals.
// null means absent for every field. The first error sticks.
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace tristill::openai {

class Fields {
 public:
  explicit Fields(const nlohmann::json& object) : object_(object) {}

  template <class Integer>
  void integer(const char* name, int64_t low, int64_t high, Integer& target) {
    const auto* value = find(name);
    if (value == nullptr) return;
    const std::string accepted =
        "an integer from " + std::to_string(low) + " to " + std::to_string(high);
    if (!is_whole(*value)) return refuse(name, *value, accepted);
    const bool too_large = value->is_number_unsigned() && value->get<uint64_t>() > INT64_MAX;
    const int64_t number = too_large ? INT64_MAX : value->get<int64_t>();
    if (too_large || number < low || number > high) return refuse(name, *value, accepted);
    target = static_cast<typename Inner<Integer>::type>(number);
  }

  void number(const char* name, double low, double high, float& target) {
    const auto* value = find(name);
    if (value == nullptr) return;
    if (!value->is_number() || !(value->get<double>() >= low && value->get<double>() <= high)) {
      return refuse(name, *value, "a number from " + shown(low) + " to " + shown(high));
    }
    target = static_cast<float>(value->get<double>());
  }

  void boolean(const char* name, bool& target) {
    const auto* value = find(name);
    if (value == nullptr) return;
    if (!value->is_boolean()) return refuse(name, *value, "true or false");
    target = value->get<bool>();
  }

  void text(const char* name, const std::function<void(std::string)>& take) {
    const auto* value = find(name);
    if (value == nullptr) return;
    if (!value->is_string()) return refuse(name, *value, "a string");
    take(value->get<std::string>());
  }

  // The raw value for a field with a form of its own; null when absent.
  const nlohmann::json* find(const char* name) {
    known_.insert(name);
    const auto found = object_.find(name);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  void refuse(const std::string& name, const nlohmann::json& value, const std::string& accepted) {
    if (error_) return;
    if (value.size() > 64) {  // not spelled out: it may be megabytes
      error_ = Error{
          ErrorCode::invalid_argument,
          name + " has " + std::to_string(value.size()) + " elements; accepted is " + accepted,
          name};
      return;
    }
    std::string given = value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
    if (given.size() > 40) given = given.substr(0, 37) + "...";
    error_ = Error{ErrorCode::invalid_argument, name + " is " + given + "; accepted is " + accepted,
                   name};
  }

  // A refusal in words of its own.
  void fail(Error error) {
    if (!error_) error_ = std::move(error);
  }

  const std::optional<Error>& error() const { return error_; }

  // Names in the object that nobody asked for.
  std::vector<std::string> unknown() const {
    std::vector<std::string> names;
    for (const auto& [name, value] : object_.items()) {
      if (!known_.contains(name)) names.push_back(name);
    }
    return names;
  }

 private:
  template <class T>
  struct Inner {
    using type = T;
  };
  template <class T>
  struct Inner<std::optional<T>> {
    using type = T;
  };
  static bool is_whole(const nlohmann::json& value) {
    if (value.is_number_integer()) return true;
    if (!value.is_number_float()) return false;
    const double number = value.get<double>();
    return number == std::floor(number) && std::abs(number) < 9e15;
  }
  static std::string shown(double number) { return nlohmann::json(number).dump(); }

  const nlohmann::json& object_;
  std::set<std::string, std::less<>> known_;
  std::optional<Error> error_;
};

// Text -> JSON object. Depth is capped before parsing: deep nesting overflows the parser's stack.
Result<nlohmann::json> parse_object(std::string_view text);
// The same with the keys in the order of the text, where that matters.
Result<nlohmann::ordered_json> parse_ordered_object(std::string_view text);

}  // namespace tristill::openai
