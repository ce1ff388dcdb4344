// How deep a text nests brackets and braces outside of strings: to be asked before a parser is.
// Pure function.
#pragma once

#include <string_view>

namespace tristill {

// Any text, JSON or not.
bool nests_deeper_than(int levels, std::string_view json);

}  // namespace tristill
