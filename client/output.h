// What the commands print: tables, the progress bar, numbers and times for people. Pure functions
// that return text, and Output, which knows whether standard output is a terminal and whether
// JSON was asked for. One thread.
#pragma once

#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tristill::client {

// Columns as wide as their widest cell, two spaces between; the header in upper case as given.
// Cells hold text for people: control characters are made visible.
std::string format_table(const std::vector<std::string>& header,
                         const std::vector<std::vector<std::string>>& rows);

// "name:   value" lines, values aligned; pairs with an empty value are left out.
std::string format_fields(const std::vector<std::pair<std::string, std::string>>& fields);

// 12 -> "12s", 75 -> "1m15s", 3700 -> "1h01m", 90000 -> "1d01h"; negative or not finite: "?".
std::string format_duration(double seconds);

// 950 -> "950", 1234 -> "1.2k", 5600000 -> "5.6M"
std::string format_count(double n);

// Seconds since 1970 as "2026-11-20 22:55:01" in local time; 0 or less: "".
std::string format_time(int64_t unix_seconds);

// Control characters other than newline and tab, and bytes that are no UTF-8, as U+FFFD, so that
// text from elsewhere cannot drive the terminal.
std::string printable(std::string_view text);

// 0.0123 -> "12.3 ms", 4.2 -> "4.20 s"; negative or not finite: "?".
std::string format_latency(double seconds);

// One line without its end. No control character stands in it raw; invalid UTF-8 becomes U+FFFD.
std::string json_line(const nlohmann::json& value);

struct ProgressLine {
  std::string phase;
  std::optional<double> fraction;  // 0..1
  std::optional<uint64_t> step, total_steps;
  std::optional<double> loss, tokens_per_second, eta_seconds;
};

// One line, at most width columns: phase, bar, percent, step, loss, speed, ETA; the bar shrinks
// first, then the fields from the right are left out.
std::string format_progress(const ProgressLine& progress, size_t width);

// The same as words for a log: "train 42.0% step 120/300 loss 3.2100 1.2k tok/s eta 12s".
std::string format_progress_words(const ProgressLine& progress);

class Output {
 public:
  Output(bool json, bool terminal, size_t width, size_t height = 24)
      : json_(json), terminal_(terminal), width_(width), height_(height) {}
  // Of standard output, as the process finds it.
  static Output of_process(bool json);

  bool json() const { return json_; }
  bool terminal() const { return terminal_; }
  size_t width() const { return width_; }
  size_t height() const { return height_; }

  // Text as it is, at once. Failure when standard output cannot be written (closed pipe: the
  // process ends quietly).
  void text(std::string_view text);
  // Text of a model: on a terminal it cannot send control sequences.
  void model_text(std::string_view text);
  void object(const nlohmann::json& value) { text(json_line(value) + "\n"); }
  // Redraws the last line of the terminal; end_line leaves it standing.
  void redraw(std::string_view line);
  void end_line();

 private:
  bool json_;
  bool terminal_;
  size_t width_;
  size_t height_;
  bool line_open_ = false;
};

}  // namespace tristill::client
