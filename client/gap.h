// Where in a text something is to be filled in: what stands before it and after it. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tristill::client {

struct Gap {
  std::string prefix, suffix;
};

// line and column count from 1; the gap is before the character in that column, or after the
// line's last. Columns are Unicode characters; CR LF and LF end a line. Errors: invalid_argument
// (line or column) when the text has no such place.
Result<Gap> gap_at(std::string_view text, uint64_t line, uint64_t column);

}  // namespace tristill::client
