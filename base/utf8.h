// UTF-8 as bytes arrive: what is whole, what must wait, what is invalid. Pure functions.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace tristill {

// The length of the longest prefix that does not end inside a character. Invalid bytes count as
// whole, so at most 3 bytes are ever held back.
size_t utf8_whole_prefix(std::string_view bytes);

// Bytes with each maximal invalid part replaced by U+FFFD (Unicode 15, section 3.9, W3C practice).
std::string utf8_replace_invalid(std::string_view bytes);

// The bytes of a code point below 0x110000; surrogates as if they were characters.
std::string utf8_encode(char32_t code);

bool utf8_is_valid(std::string_view bytes);

// Unicode code points; invalid parts count as the U+FFFD that would replace them.
size_t utf8_length(std::string_view bytes);

}  // namespace tristill
