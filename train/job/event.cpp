#include "train/job/event.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "train/job/fields.h"

namespace tristill::job {
namespace {

using nlohmann::json;

constexpr EventType kTypes[] = {EventType::progress, EventType::metrics, EventType::checkpoint,
                                EventType::artifact, EventType::log,     EventType::result};
constexpr EventLevel kLevels[] = {EventLevel::info, EventLevel::warn, EventLevel::error};

json number_json(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number > 0 ? "inf" : "-inf";
  return number;
}

std::optional<double> number_of(const json& value) {
  if (value.is_number()) return value.get<double>();
  if (value == "nan") return std::nan("");
  if (value == "inf") return HUGE_VAL;
  if (value == "-inf") return -HUGE_VAL;
  return std::nullopt;
}

Error corrupt(std::string message) {
  return {ErrorCode::corrupt, "event: " + std::move(message), ""};
}

template <class T, size_t N>
std::optional<T> named(const T (&all)[N], const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_string()) return std::nullopt;
  for (const T value : all) {
    if (to_string(value) == found->template get_ref<const std::string&>()) return value;
  }
  return std::nullopt;
}

}  // namespace

std::string_view to_string(EventType type) {
  switch (type) {
    case EventType::progress: return "progress";
    case EventType::metrics: return "metrics";
    case EventType::checkpoint: return "checkpoint";
    case EventType::artifact: return "artifact";
    case EventType::log: return "log";
    case EventType::result: return "result";
  }
  return "log";
}

std::string_view to_string(EventLevel level) {
  switch (level) {
    case EventLevel::info: return "info";
    case EventLevel::warn: return "warn";
    case EventLevel::error: return "error";
  }
  return "error";
}

std::string format_event(const Event& event) {
  json numbers = json::object();
  for (const auto& [key, value] : event.numbers) numbers[key] = number_json(value);
  const json line = {{"type", to_string(event.type)},
                     {"level", to_string(event.level)},
                     {"time", event.time},
                     {"message", event.message},
                     {"numbers", numbers},
                     {"texts", event.texts}};
  return line.dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<Event> parse_event(std::string_view line) {
  const auto object = parse_json_object(line);
  if (!object) return corrupt(object.error().message);
  Event event;
  const auto type = named(kTypes, *object, "type");
  const auto level = named(kLevels, *object, "level");
  if (!type) return corrupt("type is missing or unknown");
  if (!level) return corrupt("level is missing or unknown");
  event.type = *type;
  event.level = *level;
  if (!object->contains("time") || !(*object)["time"].is_number())
    return corrupt("time is no number");
  event.time = (*object)["time"].get<double>();
  if (object->contains("message")) {
    if (!(*object)["message"].is_string()) return corrupt("message is no string");
    event.message = (*object)["message"].get<std::string>();
  }
  const json empty = json::object();
  const json& numbers = object->contains("numbers") ? (*object)["numbers"] : empty;
  const json& texts = object->contains("texts") ? (*object)["texts"] : empty;
  if (!numbers.is_object() || !texts.is_object()) return corrupt("numbers or texts is no object");
  for (const auto& [key, value] : numbers.items()) {
    const auto number = number_of(value);
    if (!number) return corrupt("numbers." + key + " is no number");
    event.numbers[key] = *number;
  }
  for (const auto& [key, value] : texts.items()) {
    if (!value.is_string()) return corrupt("texts." + key + " is no string");
    event.texts[key] = value.get<std::string>();
  }
  return event;
}

}  // namespace tristill::job
