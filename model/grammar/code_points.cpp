#include "model/grammar/code_points.h"

#include <algorithm>
#include <string>

#include "base/check.h"
#include "base/utf8.h"

namespace tristill {
namespace {

constexpr uint32_t kFirstSurrogate = 0xD800, kLastSurrogate = 0xDFFF;

// Of code points that are spelled with equally many bytes. Where both ends differ in an early byte,
// the later ones must run through all of 80..BF: else the range is cut at the next such border.
void split(uint32_t low, uint32_t high, std::vector<Utf8Ranges>& out) {
  while (low <= high) {
    const std::string first = utf8_encode(low);
    const size_t size = first.size();
    uint32_t end = high;
    for (size_t tail = 1; tail < size; ++tail) {
      const uint32_t mask = (1U << (6 * tail)) - 1;
      if ((low & ~mask) == (end & ~mask)) continue;  // they differ in the last bytes alone
      if ((low & mask) != 0) end = low | mask;
      else if ((end & mask) != mask) end = (end & ~mask) - 1;
    }
    const std::string last = utf8_encode(end);
    Utf8Ranges ranges{.size = size};
    for (size_t i = 0; i < size; ++i) {
      ranges.bytes[i] = {static_cast<uint8_t>(first[i]), static_cast<uint8_t>(last[i])};
    }
    out.push_back(ranges);
    low = end + 1;
  }
}

}  // namespace

CodePoints::CodePoints(std::initializer_list<CodePointRange> ranges) {
  for (const auto& range : ranges) add(range.low, range.high);
}

void CodePoints::add(uint32_t low, uint32_t high) {
  high = std::min(high, kLast);
  if (low > high) return;
  if (low <= kLastSurrogate && high >= kFirstSurrogate) {
    if (low < kFirstSurrogate) add(low, kFirstSurrogate - 1);
    if (high > kLastSurrogate) add(kLastSurrogate + 1, high);
    return;
  }
  // What touches or overlaps it becomes one with it; across the surrogates nothing touches.
  const auto first =
      std::ranges::lower_bound(ranges_, low, {}, [](const auto& r) { return r.high + 1; });
  auto last = first;
  for (; last != ranges_.end() && last->low <= high + 1; ++last) {
    low = std::min(low, last->low);
    high = std::max(high, last->high);
  }
  ranges_.insert(ranges_.erase(first, last), {low, high});
}

void CodePoints::add(const CodePoints& others) {
  for (const auto& range : others.ranges_) add(range.low, range.high);
}

CodePoints CodePoints::complement() const {
  CodePoints rest;
  uint32_t next = 0;
  for (const auto& range : ranges_) {
    if (range.low > next) rest.add(next, range.low - 1);
    next = range.high + 1;
  }
  rest.add(next, kLast);
  return rest;
}

CodePoints CodePoints::without(const CodePoints& others) const {
  CodePoints outside = complement();
  outside.add(others);
  return outside.complement();
}

bool CodePoints::contains(uint32_t code_point) const {
  return std::ranges::any_of(
      ranges_, [&](const auto& r) { return r.low <= code_point && code_point <= r.high; });
}

std::vector<Utf8Ranges> CodePoints::utf8() const {
  std::vector<Utf8Ranges> out;
  for (const auto& [low, high] : ranges_) {
    uint32_t from = low;
    for (const uint32_t border : {0x7FU, 0x7FFU, 0xFFFFU, kLast}) {
      if (from > border) continue;
      const uint32_t to = std::min(high, border);
      if (from <= to) split(from, to, out);
      from = border + 1;
      if (from > high) break;
    }
  }
  return out;
}

uint32_t next_code_point(std::string_view text, size_t& at) {
  CHECK(at < text.size());
  const auto lead = static_cast<uint8_t>(text[at++]);
  if (lead < 0x80) return lead;
  const int n_tail = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
  uint32_t code_point = lead & (0x3FU >> n_tail);
  for (int i = 0; i < n_tail; ++i) {
    CHECK(at < text.size());
    code_point = code_point << 6 | (static_cast<uint8_t>(text[at++]) & 0x3FU);
  }
  return code_point;
}

}  // namespace tristill
