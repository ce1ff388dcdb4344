// Names that people give to models, corpora and trace sets. They become file names, so a name is
// [A-Za-z0-9._-]{1,64} and does not start with a dot. Pure; any thread.
#pragma once

#include <string_view>

namespace tristill {

inline constexpr std::string_view kAcceptedNames =
    "1 to 64 letters, digits, dots, dashes and underscores, not starting with a dot";

constexpr bool is_name(std::string_view text) {
  if (text.empty() || text.size() > 64 || text.front() == '.') return false;
  for (const char c : text) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    const bool digit = c >= '0' && c <= '9';
    if (!letter && !digit && c != '.' && c != '_' && c != '-') return false;
  }
  return true;
}

}  // namespace tristill
