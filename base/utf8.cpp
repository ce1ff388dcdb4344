#include "base/utf8.h"

#include <algorithm>
#include <cstdint>

namespace tristill {
namespace {

struct Lead {
  size_t length;     // bytes of the character; 0 when this byte starts none
  uint8_t low, high;  // accepted range of the second byte (Unicode 15, table 3-7)
};

Lead lead_of(uint8_t byte) {
  if (byte < 0x80) return {1, 0, 0};
  if (byte >= 0xC2 && byte <= 0xDF) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte >= 0xE1 && byte <= 0xEF) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte >= 0xF1 && byte <= 0xF3) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

struct Part {
  size_t length;  // bytes consumed, at least 1
  bool valid;     // a whole character
  bool cut;       // invalid only because the bytes end here
};

Part next_part(std::string_view bytes) {
  const Lead lead = lead_of(static_cast<uint8_t>(bytes[0]));
  if (lead.length == 0) return {1, false, false};
  for (size_t i = 1; i < lead.length; ++i) {
    if (i == bytes.size()) return {i, false, true};
    const auto byte = static_cast<uint8_t>(bytes[i]);
    const uint8_t low = i == 1 ? lead.low : 0x80;
    const uint8_t high = i == 1 ? lead.high : 0xBF;
    if (byte < low || byte > high) return {i, false, false};
  }
  return {lead.length, true, false};
}

}  // namespace

size_t utf8_whole_prefix(std::string_view bytes) {
  const size_t from = bytes.size() < 3 ? 0 : bytes.size() - 3;
  for (size_t start = from; start < bytes.size(); ++start) {
    const auto byte = static_cast<uint8_t>(bytes[start]);
    if (byte < 0xC2) continue;
    if (next_part(bytes.substr(start)).cut) return start;
  }
  return bytes.size();
}

std::string utf8_replace_invalid(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  while (!bytes.empty()) {
    const Part part = next_part(bytes);
    if (part.valid) out += bytes.substr(0, part.length);
    else out += "\xEF\xBF\xBD";
    bytes.remove_prefix(part.length);
  }
  return out;
}

std::string utf8_encode(char32_t code) {
  const auto tail = [&](int shift) { return static_cast<char>(0x80U | (code >> shift & 0x3FU)); };
  if (code < 0x80) return {static_cast<char>(code)};
  if (code < 0x800) return {static_cast<char>(0xC0U | code >> 6), tail(0)};
  if (code < 0x10000) return {static_cast<char>(0xE0U | code >> 12), tail(6), tail(0)};
  return {static_cast<char>(0xF0U | code >> 18), tail(12), tail(6), tail(0)};
}

bool utf8_is_valid(std::string_view bytes) {
  while (!bytes.empty()) {
    const Part part = next_part(bytes);
    if (!part.valid) return false;
    bytes.remove_prefix(part.length);
  }
  return true;
}

size_t utf8_length(std::string_view bytes) {
  size_t count = 0;
  for (; !bytes.empty(); ++count) bytes.remove_prefix(next_part(bytes).length);
  return count;
}

}  // namespace tristill
