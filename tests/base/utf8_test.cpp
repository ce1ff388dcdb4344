#include "base/utf8.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>

namespace tristill {
namespace {

// UTF-8 by decoding: the bits of a lead byte, then its continuation bytes, then the rules of
// Unicode 15, definition D92 (no surrogates, none above U+10FFFF, none longer than needed).
struct Decoded {
  bool whole;     // a character stands at the start
  bool is_start;  // what is there could be continued to one
  size_t length;  // of the character
};

Decoded decode(std::string_view bytes) {
  const auto lead = static_cast<uint8_t>(bytes[0]);
  const size_t length = lead < 0x80           ? 1
                        : (lead >> 5) == 0x6  ? 2
                        : (lead >> 4) == 0xE  ? 3
                        : (lead >> 3) == 0x1E ? 4
                                              : 0;
  if (length == 0) return {false, false, 1};
  const size_t present = std::min(length, bytes.size());
  uint32_t low = length == 1 ? lead : lead & (0x7FU >> length);
  for (size_t i = 1; i < present; ++i) {
    const auto byte = static_cast<uint8_t>(bytes[i]);
    if ((byte & 0xC0) != 0x80) return {false, false, 1};
    low = low << 6 | (byte & 0x3FU);
  }
  // Missing bytes may be anything: the code points that can still come are low .. high.
  uint32_t high = low;
  for (size_t i = present; i < length; ++i) {
    low = low << 6;
    high = high << 6 | 0x3FU;
  }
  constexpr uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  const uint32_t first = std::max(low, kLeast[length]);
  const uint32_t last = std::min(high, 0x10FFFFU);
  const bool possible = first <= last && !(first >= 0xD800 && last <= 0xDFFF);
  return {possible && present == length, possible, length};
}

bool reference_valid(std::string_view bytes) {
  while (!bytes.empty()) {
    const Decoded at = decode(bytes);
    if (!at.whole) return false;
    bytes.remove_prefix(at.length);
  }
  return true;
}

// Each invalid part is the longest start of a character that is there, at least one byte.
std::string reference_replaced(std::string_view bytes, size_t& cut) {
  std::string out;
  cut = 0;
  while (!bytes.empty()) {
    const Decoded at = decode(bytes);
    size_t length = at.length;
    if (at.whole) {
      out += bytes.substr(0, length);
    } else {
      length = 1;
      while (length < bytes.size() && length < 4 && decode(bytes.substr(0, length + 1)).is_start) {
        ++length;
      }
      cut = length == bytes.size() && decode(bytes).is_start ? length : 0;
      out += "\xEF\xBF\xBD";
    }
    bytes.remove_prefix(length);
  }
  return out;
}

void expect_as_reference(std::string_view bytes) {
  size_t cut = 0;
  const std::string replaced = reference_replaced(bytes, cut);
  ASSERT_EQ(utf8_is_valid(bytes), reference_valid(bytes)) << testing::PrintToString(bytes);
  ASSERT_EQ(utf8_replace_invalid(bytes), replaced) << testing::PrintToString(bytes);
  ASSERT_EQ(utf8_whole_prefix(bytes), bytes.size() - cut) << testing::PrintToString(bytes);
  ASSERT_EQ(utf8_length(bytes), utf8_length(replaced)) << testing::PrintToString(bytes);
}

TEST(Utf8, AgreesWithTheReferenceOnEveryStringOfUpToThreeBytes) {
  std::string bytes;
  for (uint32_t n = 0; n < 1U << 24; ++n) {
    // All of one and two bytes; of three, all that begin with a lead byte.
    const auto first = static_cast<uint8_t>(n >> 16);
    if (first != 0 && first < 0xC0) continue;
    bytes = {static_cast<char>(first), static_cast<char>(n >> 8), static_cast<char>(n)};
    if (first == 0) bytes.erase(0, n < 256 ? 2 : 1);
    if (utf8_is_valid(bytes) != reference_valid(bytes)) FAIL() << testing::PrintToString(bytes);
    if (n % 7 == 0 || first == 0) expect_as_reference(bytes);
  }
}

TEST(Utf8, AgreesWithTheReferenceOnFourBytesAndMoreOfThoseThatMatter) {
  constexpr uint8_t kBytes[] = {'a',  0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC1, 0xC2, 0xDF,
                                0xE0, 0xE1, 0xED, 0xEF, 0xF0, 0xF1, 0xF4, 0xF5, 0xFF};
  constexpr size_t kCount = std::size(kBytes);
  for (size_t n = 0; n < kCount * kCount * kCount * kCount; ++n) {
    std::string bytes;
    for (size_t rest = n, i = 0; i < 4; ++i, rest /= kCount) {
      bytes += static_cast<char>(kBytes[rest % kCount]);
    }
    expect_as_reference(bytes);
    expect_as_reference("x" + bytes + "\xF0\x9F");
  }
}

TEST(Utf8, APartHeldBackBecomesWholeOrInvalidByTheNextBytes) {
  const std::string text = "\xE2\x82\xAC\xF0\x9F\x98\x80\xFFz\xC3";
  for (size_t split = 0; split <= text.size(); ++split) {
    const std::string_view part = std::string_view(text).substr(0, split);
    const size_t whole = utf8_whole_prefix(part);
    EXPECT_EQ(utf8_replace_invalid(part.substr(0, whole)) +
                  utf8_replace_invalid(std::string_view(text).substr(whole)),
              utf8_replace_invalid(text))
        << split;
  }
}

}  // namespace
}  // namespace tristill
