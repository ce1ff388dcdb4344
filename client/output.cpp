#include "client/output.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <ctime>

#include "base/utf8.h"
#include "client/failure.h"

namespace tristill::client {
namespace {

std::string pad(const std::string& cell, size_t width) {
  const size_t length = utf8_length(cell);
  return cell + std::string(width > length ? width - length : 0, ' ');
}

std::string one_line(std::string_view cell) {
  std::string text = printable(cell);
  std::replace(text.begin(), text.end(), '\n', ' ');
  std::replace(text.begin(), text.end(), '\t', ' ');
  return text;
}

// The parts to the right of the bar, the most important first.
std::vector<std::string> progress_parts(const ProgressLine& progress) {
  std::vector<std::string> parts;
  if (progress.fraction) {
    const double share = std::clamp(*progress.fraction, 0.0, 1.0);
    parts.push_back(fmt::format("{:.1f}%", std::floor(share * 1000) / 10));
  }
  if (progress.step) {
    const bool known = progress.total_steps && *progress.total_steps > 0;
    parts.push_back(known ? fmt::format("step {}/{}", *progress.step, *progress.total_steps)
                          : fmt::format("step {}", *progress.step));
  }
  if (progress.loss) parts.push_back(fmt::format("loss {:.4f}", *progress.loss));
  if (progress.tokens_per_second) {
    parts.push_back(format_count(*progress.tokens_per_second) + " tok/s");
  }
  if (progress.eta_seconds) parts.push_back("eta " + format_duration(*progress.eta_seconds));
  return parts;
}

std::string join(const std::vector<std::string>& parts, std::string_view between) {
  return fmt::format("{}", fmt::join(parts, between));
}

}  // namespace

std::string format_table(const std::vector<std::string>& header,
                         const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::vector<std::string>> lines = {header};
  for (const auto& row : rows) {
    lines.emplace_back();
    for (const auto& cell : row) lines.back().push_back(one_line(cell));
  }
  std::vector<size_t> widths(header.size(), 0);
  for (const auto& line : lines) {
    for (size_t i = 0; i < widths.size(); ++i) {
      widths[i] = std::max(widths[i], utf8_length(line.at(i)));
    }
  }
  std::string out;
  for (const auto& line : lines) {
    std::string text;
    for (size_t i = 0; i < widths.size(); ++i) {
      text += i + 1 == widths.size() ? line[i] : pad(line[i], widths[i] + 2);
    }
    text.erase(text.find_last_not_of(' ') + 1);
    out += text + '\n';
  }
  return out;
}

std::string format_fields(const std::vector<std::pair<std::string, std::string>>& fields) {
  size_t width = 0;
  for (const auto& [name, value] : fields) {
    if (!value.empty()) width = std::max(width, name.size() + 1);
  }
  std::string out;
  for (const auto& [name, value] : fields) {
    if (!value.empty()) out += pad(name + ":", width + 1) + one_line(value) + '\n';
  }
  return out;
}

std::string format_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0 || seconds > 1e9) return "?";
  const auto s = static_cast<uint64_t>(std::llround(seconds));
  if (s < 60) return fmt::format("{}s", s);
  if (s < 3600) return fmt::format("{}m{:02}s", s / 60, s % 60);
  if (s < 86400) return fmt::format("{}h{:02}m", s / 3600, s / 60 % 60);
  return fmt::format("{}d{:02}h", s / 86400, s / 3600 % 24);
}

std::string format_count(double n) {
  if (!std::isfinite(n)) return "?";
  if (n < 999.5) return fmt::format("{:.0f}", n);
  if (n < 999950) return fmt::format("{:.1f}k", n / 1e3);
  if (n < 999950000) return fmt::format("{:.1f}M", n / 1e6);
  return fmt::format("{:.1f}G", n / 1e9);
}

std::string format_time(int64_t unix_seconds) {
  const std::time_t at = unix_seconds;
  std::tm parts = {};
  if (unix_seconds <= 0 || localtime_r(&at, &parts) == nullptr) return "";
  char text[32] = "";
  return {text, std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts)};
}

std::string printable(std::string_view bytes) {
  const std::string text = utf8_replace_invalid(bytes);
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const auto next = i + 1 < text.size() ? static_cast<unsigned char>(text[i + 1]) : 0U;
    if ((byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7F) {
      out += "\xEF\xBF\xBD";
    } else if (byte == 0xC2 && next >= 0x80 && next < 0xA0) {  // C1 controls, U+0080 to U+009F
      out += "\xEF\xBF\xBD";
      ++i;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::string format_latency(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "?";
  if (seconds < 0.9995) return fmt::format("{:.1f} ms", seconds * 1000);
  return fmt::format("{:.2f} s", seconds);
}

// The library escapes what JSON demands; DEL and U+0080 to U+009F it leaves as they are. They can
// only stand in strings.
std::string json_line(const nlohmann::json& value) {
  const std::string dumped = value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  std::string out;
  out.reserve(dumped.size());
  for (size_t i = 0; i < dumped.size(); ++i) {
    const auto byte = static_cast<unsigned char>(dumped[i]);
    const auto next = i + 1 < dumped.size() ? static_cast<unsigned char>(dumped[i + 1]) : 0U;
    if (byte == 0x7F) {
      out += "\\u007f";
    } else if (byte == 0xC2 && next >= 0x80 && next < 0xA0) {
      out += fmt::format("\\u00{:02x}", next);
      ++i;
    } else {
      out += dumped[i];
    }
  }
  return out;
}

std::string format_progress(const ProgressLine& progress, size_t width) {
  constexpr size_t kWidestBar = 30;
  constexpr size_t kNarrowestBar = 5;
  const std::string phase = one_line(progress.phase);
  std::vector<std::string> parts = progress_parts(progress);
  const auto length = [&] {
    return utf8_length(phase) + 2 + (parts.empty() ? 0 : utf8_length(join(parts, "  ")));
  };
  const size_t bar_least = progress.fraction ? kNarrowestBar + 4 : 0;  // brackets and a gap
  while (!parts.empty() && length() + bar_least > width) parts.pop_back();
  std::string out = phase;
  const size_t left = width > length() ? width - length() : 0;
  if (progress.fraction && left >= bar_least) {
    const size_t cells = std::min(kWidestBar, left - 4);
    const double share = std::clamp(*progress.fraction, 0.0, 1.0);
    const auto full = static_cast<size_t>(share * static_cast<double>(cells));
    out += "  [" + std::string(full, '#') + std::string(cells - full, '.') + "]";
  }
  if (!parts.empty()) out += "  " + join(parts, "  ");
  while (utf8_length(out) > width) {
    out.pop_back();
    out.resize(utf8_whole_prefix(out));
  }
  return out;
}

std::string format_progress_words(const ProgressLine& progress) {
  std::vector<std::string> parts = progress_parts(progress);
  if (!progress.phase.empty()) parts.insert(parts.begin(), one_line(progress.phase));
  return join(parts, " ");
}

Output Output::of_process(bool json) {
  const bool terminal = isatty(STDOUT_FILENO) == 1;
  size_t width = 80;
  size_t height = 24;
  winsize size = {};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0) {
    width = size.ws_col;
    height = size.ws_row;
  }
  return {json, terminal, width, height};
}

void Output::text(std::string_view text) {
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (!written || std::fflush(stdout) != 0) {
    if (errno == EPIPE) _exit(kExitOk);  // the reader has seen enough, as with head
    throw Failure(kExitResource, std::string("cannot write the output: ") + std::strerror(errno));
  }
}

void Output::model_text(std::string_view text) {
  this->text(terminal_ ? printable(text) : std::string(text));
}

void Output::redraw(std::string_view line) {
  text("\r\x1b[K" + std::string(line));  // to the start, clear to the end
  line_open_ = true;
}

void Output::end_line() {
  if (line_open_) text("\n");
  line_open_ = false;
}

}  // namespace tristill::client
