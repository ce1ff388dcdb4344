// Products of 2 rows and 2 tokens, 8 columns deep (smmla of Armv8.6 i8mm): half the instructions
// of the dot product for tiles of two tokens and more. Panels keep 4 columns of 4 rows together;
// two of them, interleaved, are the 8 columns of 2 rows. Included by vector_linear.h where i8mm is.
#pragma once

#include "model/kernels/kernels.h"
#include "model/kernels/vector_steps.h"

namespace tristill::kernels {
namespace {

// The four bytes of 2 tokens at one column group and at the next: 8 columns of each.
inline int8x16_t token_pair(const int8_t* q, const int8_t* next) {
  const int32x2_t here = vreinterpret_s32_s8(vld1_s8(q));
  const int32x2_t then = vreinterpret_s32_s8(vld1_s8(next));
  return vreinterpretq_s8_s32(vcombine_s32(vzip1_s32(here, then), vzip2_s32(here, then)));
}

// Sums of 16 rows and kTokens tokens (an odd one is computed with the one before it once more).
template <int kTokens>
class PairSums {
 public:
  // 8 columns: two planes of weights, and the tile's bytes of each.
  void multiply(Bytes w, Bytes w_next, const int8_t* q, const int8_t* q_next) {
    const int8x16_t rows[8] = {low(w.v0, w_next.v0),  high(w.v0, w_next.v0), low(w.v1, w_next.v1),
                               high(w.v1, w_next.v1), low(w.v2, w_next.v2),  high(w.v2, w_next.v2),
                               low(w.v3, w_next.v3),  high(w.v3, w_next.v3)};
#pragma GCC unroll 3
    for (int p = 0; p < kPairs; ++p) {
      const int8x16_t x = token_pair(q + 4 * first(p), q_next + 4 * first(p));
#pragma GCC unroll 8
      for (int r = 0; r < 8; ++r) sums_[p][r] = vmmlaq_s32(sums_[p][r], rows[r], x);
    }
  }

  // 4 columns.
  void multiply(Bytes w, const int8_t* q) { multiply(w, splat_byte(0), q, q); }

  Sums<kTokens> sums() const {
    Sums<kTokens> total;
#pragma GCC unroll 6
    for (int t = 0; t < kTokens; ++t) total.of[0][t] = of(t);
    return total;
  }

 private:
  static constexpr int kPairs = (kTokens + 1) / 2;
  static constexpr int first(int pair) { return 2 * pair + 2 <= kTokens ? 2 * pair : kTokens - 2; }
  I32 of(int token) const {
    const int p = token / 2;
    const auto& s = sums_[p];
    if (token == first(p)) {
      return {vuzp1q_s32(s[0], s[1]), vuzp1q_s32(s[2], s[3]), vuzp1q_s32(s[4], s[5]),
              vuzp1q_s32(s[6], s[7])};
    }
    return {vuzp2q_s32(s[0], s[1]), vuzp2q_s32(s[2], s[3]), vuzp2q_s32(s[4], s[5]),
            vuzp2q_s32(s[6], s[7])};
  }
  static int8x16_t low(uint8x16_t a, uint8x16_t b) {
    return vreinterpretq_s8_u32(vzip1q_u32(vreinterpretq_u32_u8(a), vreinterpretq_u32_u8(b)));
  }
  static int8x16_t high(uint8x16_t a, uint8x16_t b) {
    return vreinterpretq_s8_u32(vzip2q_u32(vreinterpretq_u32_u8(a), vreinterpretq_u32_u8(b)));
  }

  int32x4_t sums_[kPairs][8] = {};
};

template <class Step, int kTokens, int k = 0>
inline void multiply_pairs(const Step& step, const int8_t* q, PairSums<kTokens>& sums) {
  const int8_t* here = q + k * kTokens * 4;
  if constexpr (k + 1 < Step::kPlanes) {
    sums.multiply(step.template plane<k>(), step.template plane<k + 1>(), here, here + kTokens * 4);
    if constexpr (k + 2 < Step::kPlanes) multiply_pairs<Step, kTokens, k + 2>(step, q, sums);
  } else {
    sums.multiply(step.template plane<k>(), here);
  }
}

template <class Step, int kTokens>
inline Sums<kTokens> paired_sums(const uint8_t* w, const int8_t* q, size_t steps) {
  PairSums<kTokens> sums;
  for (size_t s = 0; s < steps; ++s, w += kStepBytes, q += 4 * Step::kPlanes * kTokens) {
    if (kTokens <= 4) prefetch(w + kPrefetchBytes);
    multiply_pairs<Step, kTokens>(Step(w), q, sums);
  }
  return sums.sums();
}

template <int kTokens>
inline Sums<kTokens> paired_int8_sums(const uint8_t* w, const int8_t* q, size_t steps) {
  PairSums<kTokens> sums;
  size_t s = 0;
  for (; s + 2 <= steps; s += 2, w += 2 * kStepBytes, q += 8 * kTokens) {
    if (kTokens <= 4) prefetch(w + kPrefetchBytes);
    sums.multiply(load_bytes(w), load_bytes(w + kStepBytes), q, q + 4 * kTokens);
  }
  if (s < steps) sums.multiply(load_bytes(w), q);
  return sums.sums();
}

template <int kTokens>
inline Sums<kTokens> paired_sliced_sums(const uint8_t* high, const uint8_t* middle,
                                        const uint8_t* low, const int8_t* q, size_t steps) {
  PairSums<kTokens> sums;
  for (size_t s = 0; s < steps; ++s, q += 4 * SlicedStep::kPlanes * kTokens) {
    multiply_pairs<SlicedStep, kTokens>({high, middle, low}, q, sums);
    high += 2 * kStepBytes;
    middle += kStepBytes;
    low += kStepBytes;
  }
  return sums.sums();
}

}  // namespace
}  // namespace tristill::kernels
