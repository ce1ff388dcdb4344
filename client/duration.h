// Durations as people write them. Pure.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"

namespace tristill::client {

// "90s", "15m", "12h", "30d", "8w" in seconds; at least 1. Errors: invalid_argument.
Result<int64_t> parse_duration(std::string_view text);

}  // namespace tristill::client
