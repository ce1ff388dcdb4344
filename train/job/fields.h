// Fields: reads one JSON object of a job field by field; words refusals with the field's whole
// path; refuses what it was not asked for. The first error sticks. null means absent.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace tristill::job {

// A refusal that no field makes alone.
Error wrong(std::string param, std::string message);
// The same, of which the message begins with the field's name.
Error refused(const std::string& param, const std::string& rest);

// Text -> JSON object; nesting is capped before parsing. Errors: invalid_argument.
Result<nlohmann::json> parse_json_object(std::string_view text);

class Fields {
 public:
  Fields(const nlohmann::json& object, std::string path)
      : object_(object), path_(std::move(path)) {}

  bool has(const char* name) const { return look(name) != nullptr; }
  void require(const char* name);

  template <class T>
  void whole(const char* name, int64_t low, int64_t high, T& target) {
    if (const auto number = read_whole(name, low, high)) target = static_cast<T>(*number);
  }
  template <class T>
  void real(const char* name, double low, double high, T& target) {
    if (const auto number = read_real(name, low, high)) target = static_cast<T>(*number);
  }
  void flag(const char* name, bool& target);
  void text(const char* name, std::string& target);
  void texts(const char* name, size_t most, std::vector<std::string>& target);

  template <class T>
  void choice(const char* name, const std::vector<std::pair<std::string, T>>& accepted, T& target) {
    std::string given;
    text(name, given);
    if (!has(name) || failed()) return;
    std::string names;
    for (const auto& [spelling, value] : accepted) {
      if (spelling == given) {
        target = value;
        return;
      }
      names += (names.empty() ? "" : ", ") + spelling;
    }
    refuse(name, names);
  }

  // Reads an object, or each object of a list, and refuses unknown fields in it.
  void object(const char* name, const std::function<void(Fields&)>& read);
  void objects(const char* name, size_t most, const std::function<void(Fields&)>& read);
  const nlohmann::json* raw(const char* name);

  // The value given for name is not accepted; says what is.
  void refuse(const char* name, const std::string& accepted);
  // An error about this object's field, worded by the caller.
  void fail(const std::string& field, const std::string& message);
  // Refuses fields that were never asked for.
  void finish();

  bool failed() const { return error_.has_value(); }
  const Error& error() const { return *error_; }

 private:
  const nlohmann::json* look(const char* name) const;
  std::string where(const std::string& name) const {
    return path_.empty() ? name : path_ + "." + name;
  }
  std::optional<int64_t> read_whole(const char* name, int64_t low, int64_t high);
  std::optional<double> read_real(const char* name, double low, double high);

  const nlohmann::json& object_;
  std::string path_;
  std::set<std::string, std::less<>> known_;
  std::optional<Error> error_;
};

}  // namespace tristill::job
