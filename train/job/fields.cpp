#include "train/job/fields.h"

#include <cmath>

#include "base/json_depth.h"
#include "base/utf8.h"

namespace tristill::job {
namespace {

using nlohmann::json;
constexpr int kMaxDepth = 16;
constexpr size_t kMaxShownName = 64;  // of a field we do not know

}  // namespace

Error wrong(std::string param, std::string message) {
  return {ErrorCode::invalid_argument, std::move(message), std::move(param)};
}

Error refused(const std::string& param, const std::string& rest) {
  return wrong(param, param + rest);
}

Result<json> parse_json_object(std::string_view text) {
  if (nests_deeper_than(kMaxDepth, text))
    return wrong("", "the JSON is nested deeper than 16 levels");
  // The parser takes a NUL for the end and would not see what follows.
  if (text.find('\0') != std::string_view::npos) return wrong("", "not valid JSON: a NUL byte");
  auto value = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded()) return wrong("", "not valid JSON");
  if (!value.is_object()) return wrong("", "must be a JSON object");
  return value;
}

const json* Fields::look(const char* name) const {
  const auto found = object_.find(name);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

const json* Fields::raw(const char* name) {
  known_.insert(name);
  return look(name);
}

void Fields::require(const char* name) {
  known_.insert(name);
  if (look(name) == nullptr) fail(name, where(name) + " is missing");
}

void Fields::fail(const std::string& field, const std::string& message) {
  if (!error_) error_ = wrong(where(field), message);
}

void Fields::refuse(const char* name, const std::string& accepted) {
  const json* value = look(name);
  std::string given =
      value == nullptr ? "missing" : value->dump(-1, ' ', true, json::error_handler_t::replace);
  if (given.size() > 60) given = given.substr(0, 57) + "...";
  fail(name, where(name) + " is " + given + "; accepted is " + accepted);
}

std::optional<int64_t> Fields::read_whole(const char* name, int64_t low, int64_t high) {
  const json* value = raw(name);
  if (value == nullptr) return std::nullopt;
  bool ok =
      value->is_number_integer() &&
      !(value->is_number_unsigned() && value->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX));
  const int64_t number = ok ? value->get<int64_t>() : 0;
  ok = ok && number >= low && number <= high;
  if (ok) return number;
  refuse(name, "an integer from " + std::to_string(low) + " to " + std::to_string(high));
  return std::nullopt;
}

std::optional<double> Fields::read_real(const char* name, double low, double high) {
  const json* value = raw(name);
  if (value == nullptr) return std::nullopt;
  const double number = value->is_number() ? value->get<double>() : std::nan("");
  if (number >= low && number <= high) return number;
  refuse(name, "a number from " + json(low).dump() + " to " + json(high).dump());
  return std::nullopt;
}

void Fields::flag(const char* name, bool& target) {
  const json* value = raw(name);
  if (value == nullptr) return;
  if (value->is_boolean()) target = value->get<bool>();
  else refuse(name, "true or false");
}

void Fields::text(const char* name, std::string& target) {
  const json* value = raw(name);
  if (value == nullptr) return;
  if (value->is_string()) target = value->get<std::string>();
  else refuse(name, "a string");
}

void Fields::texts(const char* name, size_t most, std::vector<std::string>& target) {
  const json* value = raw(name);
  if (value == nullptr) return;
  std::vector<std::string> read;
  bool ok = value->is_array() && value->size() <= most;
  for (size_t i = 0; ok && i < value->size(); ++i) {
    ok = (*value)[i].is_string();
    if (ok) read.push_back((*value)[i].get<std::string>());
  }
  if (ok) target = std::move(read);
  else refuse(name, "a list of at most " + std::to_string(most) + " strings");
}

void Fields::object(const char* name, const std::function<void(Fields&)>& read) {
  const json* value = raw(name);
  if (value == nullptr) return;
  if (!value->is_object()) return refuse(name, "an object of its fields");
  Fields inner(*value, where(name));
  read(inner);
  inner.finish();
  if (inner.failed() && !error_) error_ = inner.error();
}

void Fields::objects(const char* name, size_t most, const std::function<void(Fields&)>& read) {
  const json* value = raw(name);
  if (value == nullptr) return;
  if (!value->is_array() || value->size() > most) {
    return refuse(name, "a list of at most " + std::to_string(most) + " objects");
  }
  for (size_t i = 0; i < value->size(); ++i) {
    const std::string place = where(name) + "[" + std::to_string(i) + "]";
    if (!(*value)[i].is_object()) {
      if (!error_) error_ = wrong(place, place + " is no object");
      return;
    }
    Fields inner((*value)[i], place);
    read(inner);
    inner.finish();
    if (inner.failed() && !error_) error_ = inner.error();
  }
}

void Fields::finish() {
  for (const auto& [name, value] : object_.items()) {
    if (known_.contains(name)) continue;
    const std::string shown = utf8_replace_invalid(std::string_view(name).substr(0, kMaxShownName));
    fail(shown, where(shown) + " is no known field");
  }
}

}  // namespace tristill::job
