// The one order of every floating-point sum in the engine: 16 lanes, element i goes to lane
// i % 16, in index order; then lanes are added as a tree (l and l+8, l+4, l+2, l+1). Pure
// functions, any thread. Not for the kernels' ISA files, which include no header with templates and
// repeat this order.
#pragma once

#include <cmath>
#include <cstddef>
#include <limits>

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

// sum of a[i] * b[i] in the one order, each product fused with its addition.
inline float fma_in_order(const float* a, const float* b, size_t n) {
  float lanes[kSumLanes] = {};
  for (size_t i = 0; i < n; ++i) {
    lanes[i % kSumLanes] = std::fma(a[i], b[i], lanes[i % kSumLanes]);
  }
  return sum_lanes(lanes);
}

// The greatest of x, NaN ignored; -infinity when there is none. No rounding: any order will do.
inline float max_of(const float* x, size_t n) {
  constexpr size_t kChains = 8;
  float most[kChains];
  for (float& m : most) m = -std::numeric_limits<float>::infinity();
  size_t i = 0;
  for (; i + kChains <= n; i += kChains) {
    for (size_t j = 0; j < kChains; ++j) most[j] = x[i + j] > most[j] ? x[i + j] : most[j];
  }
  for (; i < n; ++i) most[0] = x[i] > most[0] ? x[i] : most[0];
  for (size_t j = 1; j < kChains; ++j) most[0] = most[j] > most[0] ? most[j] : most[0];
  return most[0];
}

}  // namespace tristill
