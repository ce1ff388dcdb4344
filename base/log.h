// One line an event to standard error, key=value pairs or JSON. Any thread. Never pass a secret:
// values of the keys "authorization", "api_key", "token" and "secret" are replaced by "***".
//   log_info("job started", {{"job", id}, {"pid", pid}});
#pragma once

#include <concepts>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace tristill {

enum class LogLevel { debug, info, warn, error };

enum class LogFormat {
  human,  // 2026-11-21T09:30:00.123+00:00 info job started job=... pid=7
  json    // {"ts":"2026-11-21T09:30:00.123+00:00","level":"info","msg":"job started","pid":7}
};

struct LogField {
  LogField(std::string_view name, std::string text) : key(name), value(std::move(text)) {}
  template <std::integral T>
  LogField(std::string_view name, T number)
      : key(name), value(std::to_string(number)), is_number(true) {}
  LogField(std::string_view name, double number);  // to a thousandth; "null" of what is none

  std::string_view key;  // neither "ts" nor "level" nor "msg"
  std::string value;
  bool is_number = false;  // in JSON without quotes
};

void set_log_level(LogLevel level);
void set_log_format(LogFormat format);
void log_event(LogLevel level, std::string_view message, std::initializer_list<LogField> fields);
void log_fields(LogLevel level, std::string_view message, std::span<const LogField> fields);

inline void log_debug(std::string_view m, std::initializer_list<LogField> f = {}) {
  log_event(LogLevel::debug, m, f);
}
inline void log_info(std::string_view m, std::initializer_list<LogField> f = {}) {
  log_event(LogLevel::info, m, f);
}
inline void log_warn(std::string_view m, std::initializer_list<LogField> f = {}) {
  log_event(LogLevel::warn, m, f);
}
inline void log_error(std::string_view m, std::initializer_list<LogField> f = {}) {
  log_event(LogLevel::error, m, f);
}

// The event as one line of the format, without time and level; what the log writes. For tests.
std::string log_line(LogFormat format, std::string_view message, std::span<const LogField> fields);

}  // namespace tristill
