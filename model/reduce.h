// The one order of every floating-point sum in the engine: 16 lanes, element i goes to lane
// i % 16, in index order; then lanes are added as a tree (l and l+8, l+4, l+2, l+1). Products and
// sums are rounded separately. Pure functions, any thread. Not for the kernels' ISA files, which
// include no header with templates and repeat this order.
#pragma once

#include <cstddef>

namespace tristill {

constexpr size_t kSumLanes = 16;

// The tree over the 16 lanes.
inline float sum_lanes(const float* lanes) {
  float t[kSumLanes / 2];
  for (size_t i = 0; i < 8; ++i) t[i] = lanes[i] + lanes[i + 8];
  for (size_t i = 0; i < 4; ++i) t[i] += t[i + 4];
  for (size_t i = 0; i < 2; ++i) t[i] += t[i + 2];
  return t[0] + t[1];
}

// sum of term(i) for i < n in the one order.
template <class Term>
float sum_in_order(size_t n, Term term) {
  float lanes[kSumLanes] = {};
  for (size_t i = 0; i < n; ++i) lanes[i % kSumLanes] += term(i);
  return sum_lanes(lanes);
}

}  // namespace tristill
