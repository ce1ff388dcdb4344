// What Python's strings know of Unicode, on UTF-8 that is valid: characters, white space, case.
// Pure functions: any thread. Case is simple case (one character for one, by the C library's
// C.UTF-8): "ß" has no upper case here, where Python says "SS".
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace tristill::jinja {

// The character that begins at bytes[at], at < bytes.size(), and its length.
struct Character {
  char32_t code = 0;
  size_t length = 1;
};
Character character_at(std::string_view bytes, size_t at);
// Where the character that ends before bytes[end] begins; end > 0.
size_t character_before(std::string_view bytes, size_t end);

size_t count_characters(std::string_view bytes);
// The byte at which character number n begins; bytes.size() when there are not so many.
size_t offset_of_character(std::string_view bytes, size_t n);

std::u32string decode_characters(std::string_view bytes);

bool is_space(char32_t code);  // as str.isspace
bool is_printable(char32_t code);
bool is_letter(char32_t code);
bool is_digit(char32_t code);
bool is_upper(char32_t code);
bool is_lower(char32_t code);
char32_t to_upper(char32_t code);
char32_t to_lower(char32_t code);

// Linear in both lengths, whatever they hold. npos when there is none.
size_t find_bytes(std::string_view haystack, std::string_view needle, size_t from = 0);

}  // namespace tristill::jinja
