#include "train/run/free_memory.h"

#include <algorithm>
#include <charconv>
#include <string>
#include <string_view>

#include "base/atomic_file.h"

namespace tristill::train {
namespace {

constexpr size_t kMostBytes = 1 << 16;

std::optional<uint64_t> number_at(std::string_view text) {
  const size_t digit = text.find_first_of("0123456789");
  if (digit == std::string_view::npos) return std::nullopt;
  uint64_t value = 0;
  const auto parsed = std::from_chars(text.data() + digit, text.data() + text.size(), value);
  if (parsed.ec != std::errc{}) return std::nullopt;
  return value;
}

std::optional<uint64_t> number_in(const char* file) {
  const auto text = read_file(file, kMostBytes);
  return text ? number_at(*text) : std::nullopt;  // "max" is no number
}

std::optional<uint64_t> available() {
  const auto text = read_file("/proc/meminfo", kMostBytes);
  if (!text) return std::nullopt;
  const size_t line = text->find("MemAvailable:");
  if (line == std::string::npos) return std::nullopt;
  const auto kilobytes = number_at(std::string_view(*text).substr(line));
  if (!kilobytes) return std::nullopt;
  return *kilobytes * 1024;
}

// cgroup v2, as seen from inside of it.
std::optional<uint64_t> left_in_group() {
  const auto limit = number_in("/sys/fs/cgroup/memory.max");
  const auto used = number_in("/sys/fs/cgroup/memory.current");
  if (!limit || !used) return std::nullopt;
  return *limit > *used ? *limit - *used : 0;
}

}  // namespace

std::optional<uint64_t> free_memory_bytes() {
  const auto machine = available();
  const auto group = left_in_group();
  if (!machine || !group) return machine ? machine : group;
  return std::min(*machine, *group);
}

}  // namespace tristill::train
