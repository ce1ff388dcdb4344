#include "server/jinja/characters.h"

#include <locale.h>
#include <string.h>
#include <wctype.h>

#include "base/check.h"

namespace tristill::jinja {
namespace {

bool is_continuation(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

// Debian's libc-bin, an essential package, carries it.
locale_t unicode() {
  static const locale_t locale = ::newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
  CHECK(locale != nullptr);
  return locale;
}

wint_t wide(char32_t code) { return static_cast<wint_t>(code); }

}  // namespace

Character character_at(std::string_view bytes, size_t at) {
  const auto first = static_cast<unsigned char>(bytes[at]);
  if (first < 0x80) return {first, 1};
  const size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (bytes.size() - at < length) return {first, 1};
  char32_t code = first & (0x7FU >> length);
  for (size_t i = 1; i < length; ++i) {
    code = code << 6 | (static_cast<unsigned char>(bytes[at + i]) & 0x3FU);
  }
  return {code, length};
}

size_t character_before(std::string_view bytes, size_t end) {
  do --end;
  while (end > 0 && is_continuation(bytes[end]));
  return end;
}

size_t count_characters(std::string_view bytes) {
  size_t count = 0;
  for (const char byte : bytes) count += is_continuation(byte) ? 0 : 1;
  return count;
}

size_t offset_of_character(std::string_view bytes, size_t n) {
  size_t at = 0;
  for (; at < bytes.size(); ++at) {
    if (!is_continuation(bytes[at]) && n-- == 0) break;
  }
  return at;
}

std::u32string decode_characters(std::string_view bytes) {
  std::u32string codes;
  for (size_t at = 0; at < bytes.size();) {
    const Character character = character_at(bytes, at);
    codes += character.code;
    at += character.length;
  }
  return codes;
}

bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

bool is_printable(char32_t c) {
  if (c < 0x80) return c >= 0x20 && c < 0x7F;
  return !is_space(c) && c != 0xAD && ::iswprint_l(wide(c), unicode()) != 0;
}

bool is_letter(char32_t c) {
  if (c < 0x80) return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  return ::iswalpha_l(wide(c), unicode()) != 0;
}

bool is_digit(char32_t c) { return c >= '0' && c <= '9'; }

bool is_upper(char32_t c) {
  return c < 0x80 ? c >= 'A' && c <= 'Z' : ::iswupper_l(wide(c), unicode()) != 0;
}

bool is_lower(char32_t c) {
  return c < 0x80 ? c >= 'a' && c <= 'z' : ::iswlower_l(wide(c), unicode()) != 0;
}

char32_t to_upper(char32_t c) {
  if (c < 0x80) return c >= 'a' && c <= 'z' ? c - 32 : c;
  return static_cast<char32_t>(::towupper_l(wide(c), unicode()));
}

char32_t to_lower(char32_t c) {
  if (c < 0x80) return c >= 'A' && c <= 'Z' ? c + 32 : c;
  return static_cast<char32_t>(::towlower_l(wide(c), unicode()));
}

size_t find_bytes(std::string_view haystack, std::string_view needle, size_t from) {
  if (from > haystack.size() || needle.size() > haystack.size() - from)
    return std::string_view::npos;
  if (needle.empty()) return from;
  const void* found =
      ::memmem(haystack.data() + from, haystack.size() - from, needle.data(), needle.size());
  if (found == nullptr) return std::string_view::npos;
  return static_cast<size_t>(static_cast<const char*>(found) - haystack.data());
}

}  // namespace tristill::jinja
