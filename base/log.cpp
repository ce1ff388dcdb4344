#include "base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <cmath>

#include "base/utf8.h"

namespace tristill {
namespace {

constexpr const char* kHumanPattern = "%Y-%m-%dT%H:%M:%S.%e%z %^%l%$ %v";
constexpr const char* kJsonPattern = R"({"ts":"%Y-%m-%dT%H:%M:%S.%e%z","level":"%l",%v})";

std::atomic<LogFormat> chosen_format{LogFormat::human};

spdlog::logger& logger() {
  static const auto instance = [] {
    auto made = spdlog::stderr_color_mt("tristill");
    made->set_pattern(kHumanPattern);
    return made;
  }();
  return *instance;
}

spdlog::level::level_enum spdlog_level(LogLevel level) {
  switch (level) {
    case LogLevel::debug: return spdlog::level::debug;
    case LogLevel::info: return spdlog::level::info;
    case LogLevel::warn: return spdlog::level::warn;
    case LogLevel::error: return spdlog::level::err;
  }
  return spdlog::level::err;
}

bool is_secret(std::string_view key) {
  return key == "authorization" || key == "api_key" || key == "token" || key == "secret";
}

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

void append_hex(std::string& line, char c) {
  constexpr char kDigits[] = "0123456789abcdef";
  line += kDigits[static_cast<unsigned char>(c) >> 4];
  line += kDigits[c & 15];
}

// A value is quoted when it holds anything that would break key=value on one line. Control
// characters are spelled: a request's path must not steer the terminal of who reads the log.
void append_value(std::string& line, std::string_view value) {
  const bool plain = !value.empty() && value.find_first_of(" \"=\\") == std::string_view::npos &&
                     std::find_if(value.begin(), value.end(), is_control) == value.end();
  if (plain) {
    line += value;
    return;
  }
  line += '"';
  for (const char c : value) {
    if (c == '"' || c == '\\') line += '\\';
    if (c == '\n') line += "\\n";
    else if (c == '\r') line += "\\r";
    else if (is_control(c)) append_hex(line += "\\x", c);
    else line += c;
  }
  line += '"';
}

// RFC 8259, section 7.
void append_json_text(std::string& line, std::string_view text) {
  line += '"';
  for (const char c : utf8_replace_invalid(text)) {
    if (c == '"' || c == '\\') line += '\\';
    if (is_control(c)) append_hex(line += "\\u00", c);
    else line += c;
  }
  line += '"';
}

std::string human_line(std::string_view message, std::span<const LogField> fields) {
  std::string line(message);
  for (const LogField& field : fields) {
    line += ' ';
    line += field.key;
    line += '=';
    append_value(line, is_secret(field.key) ? std::string_view("***") : field.value);
  }
  return line;
}

std::string json_line(std::string_view message, std::span<const LogField> fields) {
  std::string line = "\"msg\":";
  append_json_text(line, message);
  for (const LogField& field : fields) {
    line += ',';
    append_json_text(line, field.key);
    line += ':';
    if (is_secret(field.key)) line += "\"***\"";
    else if (field.is_number) line += field.value;
    else append_json_text(line, field.value);
  }
  return line;
}

}  // namespace

LogField::LogField(std::string_view name, double number)
    : key(name),
      value(std::isfinite(number) ? fmt::format("{:.3f}", number) : "null"),
      is_number(true) {}

std::string log_line(LogFormat format, std::string_view message, std::span<const LogField> fields) {
  return format == LogFormat::json ? json_line(message, fields) : human_line(message, fields);
}

void set_log_level(LogLevel level) { logger().set_level(spdlog_level(level)); }

void set_log_format(LogFormat format) {
  chosen_format = format;
  logger().set_pattern(format == LogFormat::json ? kJsonPattern : kHumanPattern);
}

void log_fields(LogLevel level, std::string_view message, std::span<const LogField> fields) {
  const auto wanted = spdlog_level(level);
  if (!logger().should_log(wanted)) return;
  logger().log(wanted, "{}", log_line(chosen_format, message, fields));
}

void log_event(LogLevel level, std::string_view message, std::initializer_list<LogField> fields) {
  log_fields(level, message, {fields.begin(), fields.size()});
}

}  // namespace tristill
