// CodePoints: a set of Unicode code points, and the byte sequences that spell its members in UTF-8.
// A value; any thread. Surrogates are never members: UTF-8 does not spell them.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace tristill {

struct CodePointRange {
  uint32_t low = 0, high = 0;  // both are members
  auto operator<=>(const CodePointRange&) const = default;
};

// One range of bytes after another: every combination spells a member.
struct Utf8Ranges {
  struct Bytes {
    uint8_t low = 0, high = 0;
  };
  std::array<Bytes, 4> bytes = {};
  size_t size = 0;  // of bytes, 1 to 4
};

class CodePoints {
 public:
  static constexpr uint32_t kLast = 0x10FFFF;

  CodePoints() = default;
  CodePoints(std::initializer_list<CodePointRange> ranges);
  static CodePoints all() { return {{0, kLast}}; }

  void add(uint32_t low, uint32_t high);  // high above kLast is cut
  void add(const CodePoints& others);
  CodePoints complement() const;
  CodePoints without(const CodePoints& others) const;

  bool empty() const { return ranges_.empty(); }
  bool contains(uint32_t code_point) const;
  // Sorted, apart from each other.
  const std::vector<CodePointRange>& ranges() const { return ranges_; }
  // Sequences without overlap that together spell every member (Unicode 15, table 3-7).
  std::vector<Utf8Ranges> utf8() const;

  auto operator<=>(const CodePoints&) const = default;

 private:
  std::vector<CodePointRange> ranges_;
};

// The code point at text[at], and at moves behind it. The text is valid UTF-8, at inside it.
uint32_t next_code_point(std::string_view text, size_t& at);

}  // namespace tristill
