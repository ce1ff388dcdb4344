// Cutting a JSON Lines file into uploads of whole lines. Pure functions.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

namespace tristill::client {

struct LineBatch {
  std::string_view bytes;  // whole lines, within the given text
  size_t first_line = 1;   // its number in the text
  size_t lines = 0;
};

// Batches of whole lines, at most max_bytes each unless one line alone is longer. Batches of
// blank lines only are left out.
std::vector<LineBatch> cut_lines(std::string_view text, size_t max_bytes);

}  // namespace tristill::client
