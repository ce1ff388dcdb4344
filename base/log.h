// One line an event, key=value pairs, to standard error. Any thread. Never pass a secret:
// values of the keys "authorization", "api_key", "token" and "secret" are replaced by "***".
//   log_info("job started", {{"job", id}, {"pid", std::to_string(pid)}});
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

namespace tristill {

enum class LogLevel { debug, info, warn, error };

struct LogField {
  std::string_view key;
  std::string value;
};

void set_log_level(LogLevel level);
void log_event(LogLevel level, std::string_view message, std::initializer_list<LogField> fields);

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

}  // namespace tristill
