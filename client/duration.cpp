#include "client/duration.h"

#include <charconv>
#include <string>

namespace tristill::client {

Result<int64_t> parse_duration(std::string_view text) {
  constexpr std::string_view kUnits = "smhdw";
  constexpr int64_t kSeconds[] = {1, 60, 3600, 86400, 604800};
  constexpr int64_t kMost = 100000;  // of any unit
  int64_t count = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), count);
  const std::string_view unit = text.substr(static_cast<size_t>(end - text.data()));
  const size_t which = unit.size() == 1 ? kUnits.find(unit.front()) : std::string_view::npos;
  if (failure != std::errc() || which == std::string_view::npos || count < 1 || count > kMost) {
    return Error{ErrorCode::invalid_argument,
                 "\"" + std::string(text) +
                     "\" is no duration; accepted is a number with a unit: 90s, 15m, 12h, 30d, 8w",
                 ""};
  }
  return count * kSeconds[which];
}

}  // namespace tristill::client
