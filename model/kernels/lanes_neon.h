// Vectors of 16 lanes with NEON and its dot product (Armv8.2 dotprod), and with the int8 matrix
// product (i8mm) where the including file is compiled for it: the words that the kernels of
// vector_*.h are written in. For an ISA file alone; everything is private to the file that
// includes it.
// Limit: as many sdot of 16 products a cycle as there are vector units (2 to 4); smmla does 32.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace tristill::kernels {
namespace {

// Lanes 0 .. 3 are in v0.
struct F32 {
  float32x4_t v0, v1, v2, v3;
};
struct I32 {
  int32x4_t v0, v1, v2, v3;
};
struct Bytes {  // 64 of them
  uint8x16_t v0, v1, v2, v3;
};

constexpr int kTileTokens = 6;
constexpr int kTileHalves = 1;
constexpr int kAttentionQueries = 3;
constexpr int kScoreVectors = 6;
constexpr int kValueVectors = 6;

// op in every register.
template <class Vector, class Op>
inline Vector each(Vector a, Op op) {
  return {op(a.v0), op(a.v1), op(a.v2), op(a.v3)};
}
template <class Vector, class Op>
inline Vector each(Vector a, Vector b, Op op) {
  return {op(a.v0, b.v0), op(a.v1, b.v1), op(a.v2, b.v2), op(a.v3, b.v3)};
}

inline F32 splat(float x) {
  const float32x4_t v = vdupq_n_f32(x);
  return {v, v, v, v};
}
inline F32 zero() { return splat(0.0F); }
inline F32 load(const float* x) {
  return {vld1q_f32(x), vld1q_f32(x + 4), vld1q_f32(x + 8), vld1q_f32(x + 12)};
}
inline F32 load(const float* x, size_t n) {
  if (n >= 16) return load(x);
  float lanes[16] = {};
  std::memcpy(lanes, x, n * sizeof(float));
  return load(lanes);
}
inline void store(float* x, F32 v) {
  vst1q_f32(x, v.v0);
  vst1q_f32(x + 4, v.v1);
  vst1q_f32(x + 8, v.v2);
  vst1q_f32(x + 12, v.v3);
}
inline void store(float* x, F32 v, size_t n) {
  if (n >= 16) return store(x, v);
  float lanes[16];
  store(lanes, v);
  std::memcpy(x, lanes, n * sizeof(float));
}
inline F32 add(F32 a, F32 b) {
  return each(a, b, [](auto x, auto y) { return vaddq_f32(x, y); });
}
// b in the first n lanes, a in the others.
inline F32 replace_first(F32 a, F32 b, size_t n) {
  float lanes[16];
  store(lanes, a);
  store(lanes, b, n);
  return load(lanes);
}
// a + b in the first n lanes, a in the others.
inline F32 add(F32 a, F32 b, size_t n) { return replace_first(a, add(a, b), n); }
inline F32 sub(F32 a, F32 b) {
  return each(a, b, [](auto x, auto y) { return vsubq_f32(x, y); });
}
inline F32 mul(F32 a, F32 b) {
  return each(a, b, [](auto x, auto y) { return vmulq_f32(x, y); });
}
inline F32 div(F32 a, F32 b) {
  return each(a, b, [](auto x, auto y) { return vdivq_f32(x, y); });
}
inline F32 fma(F32 a, F32 b, F32 c) {
  return {vfmaq_f32(c.v0, a.v0, b.v0), vfmaq_f32(c.v1, a.v1, b.v1), vfmaq_f32(c.v2, a.v2, b.v2),
          vfmaq_f32(c.v3, a.v3, b.v3)};
}
// fma in the first n lanes, c in the others.
inline F32 fma(F32 a, F32 b, F32 c, size_t n) { return replace_first(c, fma(a, b, c), n); }
inline F32 min(F32 a, F32 b) {  // b when one is NaN
  return each(a, b, [](auto x, auto y) { return vbslq_f32(vcltq_f32(x, y), x, y); });
}
inline F32 max(F32 a, F32 b) {  // b when one is NaN
  return each(a, b, [](auto x, auto y) { return vbslq_f32(vcgtq_f32(x, y), x, y); });
}
inline F32 abs(F32 a) {
  return each(a, [](auto x) { return vabsq_f32(x); });
}
// a where t >= limit, 0 elsewhere and where t is NaN.
inline F32 zero_below(F32 a, F32 t, float limit) {
  return each(a, t, [limit](auto x, auto y) {
    const uint32x4_t kept = vcgeq_f32(y, vdupq_n_f32(limit));
    return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(x), kept));
  });
}
inline float square_root(float x) { return vget_lane_f32(vsqrt_f32(vdup_n_f32(x)), 0); }

// The tree of kernels.h.
inline float sum(F32 v) {
  const float32x4_t a = vaddq_f32(vaddq_f32(v.v0, v.v2), vaddq_f32(v.v1, v.v3));
  const float32x2_t b = vadd_f32(vget_low_f32(a), vget_high_f32(a));
  return vget_lane_f32(vpadd_f32(b, b), 0);
}
inline float greatest(F32 v) {
  return vmaxvq_f32(vmaxq_f32(vmaxq_f32(v.v0, v.v1), vmaxq_f32(v.v2, v.v3)));
}

inline I32 splat_int(int32_t x) {
  const int32x4_t v = vdupq_n_s32(x);
  return {v, v, v, v};
}
inline I32 zero_int() { return splat_int(0); }
inline I32 load_int(const int32_t* x) {
  return {vld1q_s32(x), vld1q_s32(x + 4), vld1q_s32(x + 8), vld1q_s32(x + 12)};
}
inline void store_int(int32_t* x, I32 v) {
  vst1q_s32(x, v.v0);
  vst1q_s32(x + 4, v.v1);
  vst1q_s32(x + 8, v.v2);
  vst1q_s32(x + 12, v.v3);
}
inline I32 add(I32 a, I32 b) {
  return each(a, b, [](auto x, auto y) { return vaddq_s32(x, y); });
}
inline I32 sub(I32 a, I32 b) {
  return each(a, b, [](auto x, auto y) { return vsubq_s32(x, y); });
}
inline I32 mul(I32 a, I32 b) {
  return each(a, b, [](auto x, auto y) { return vmulq_s32(x, y); });
}
template <int kBits>
inline I32 shift_right(I32 a) {
  if constexpr (kBits == 0) return a;
  else return each(a, [](auto x) { return vshrq_n_s32(x, kBits); });
}
inline int32_t sum(I32 v) {
  return vaddvq_s32(vaddq_s32(vaddq_s32(v.v0, v.v1), vaddq_s32(v.v2, v.v3)));
}
inline F32 to_float(I32 v) {
  return {vcvtq_f32_s32(v.v0), vcvtq_f32_s32(v.v1), vcvtq_f32_s32(v.v2), vcvtq_f32_s32(v.v3)};
}
inline I32 round_to_int(F32 v) {  // half to even
  return {vcvtnq_s32_f32(v.v0), vcvtnq_s32_f32(v.v1), vcvtnq_s32_f32(v.v2), vcvtnq_s32_f32(v.v3)};
}
// 2^n for whole n in -126 .. 127.
inline F32 power_of_two(F32 n) {
  return each(n, [](auto x) {
    const int32x4_t biased = vaddq_s32(vcvtnq_s32_f32(x), vdupq_n_s32(127));
    return vreinterpretq_f32_s32(vshlq_n_s32(biased, 23));
  });
}
// Lanes in -128 .. 127 as 16 bytes.
inline void store_bytes(int8_t* to, I32 v) {
  const int16x8_t low = vcombine_s16(vmovn_s32(v.v0), vmovn_s32(v.v1));
  const int16x8_t high = vcombine_s16(vmovn_s32(v.v2), vmovn_s32(v.v3));
  vst1q_s8(to, vcombine_s8(vmovn_s16(low), vmovn_s16(high)));
}
inline F32 load_int8(const int8_t* x) {
  const int8x16_t bytes = vld1q_s8(x);
  const int16x8_t low = vmovl_s8(vget_low_s8(bytes));
  const int16x8_t high = vmovl_s8(vget_high_s8(bytes));
  return to_float({vmovl_s16(vget_low_s16(low)), vmovl_s16(vget_high_s16(low)),
                   vmovl_s16(vget_low_s16(high)), vmovl_s16(vget_high_s16(high))});
}

inline float32x4_t load_four_halves(const uint16_t* x) {
  return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(x)));
}
inline F32 load_half(const uint16_t* x) {
  return {load_four_halves(x), load_four_halves(x + 4), load_four_halves(x + 8),
          load_four_halves(x + 12)};
}
inline void store_half(uint16_t* x, F32 v) {
  vst1_u16(x, vreinterpret_u16_f16(vcvt_f16_f32(v.v0)));
  vst1_u16(x + 4, vreinterpret_u16_f16(vcvt_f16_f32(v.v1)));
  vst1_u16(x + 8, vreinterpret_u16_f16(vcvt_f16_f32(v.v2)));
  vst1_u16(x + 12, vreinterpret_u16_f16(vcvt_f16_f32(v.v3)));
}

inline void prefetch(const void* p) { __builtin_prefetch(p); }

inline Bytes load_bytes(const uint8_t* p) {
  return {vld1q_u8(p), vld1q_u8(p + 16), vld1q_u8(p + 32), vld1q_u8(p + 48)};
}
inline Bytes splat_byte(int x) {
  const uint8x16_t v = vdupq_n_u8(static_cast<uint8_t>(x));
  return {v, v, v, v};
}
inline Bytes sub_bytes(Bytes a, Bytes b) {
  return each(a, b, [](auto x, auto y) { return vsubq_u8(x, y); });
}
inline Bytes min_bytes(Bytes a, Bytes b) {
  return each(a, b, [](auto x, auto y) { return vminq_u8(x, y); });
}
inline Bytes and_bytes(Bytes a, Bytes b) {
  return each(a, b, [](auto x, auto y) { return vandq_u8(x, y); });
}
inline Bytes or_bytes(Bytes a, Bytes b) {
  return each(a, b, [](auto x, auto y) { return vorrq_u8(x, y); });
}
template <int kBits>
inline Bytes shift_bytes_right(Bytes a) {
  return each(a, [](auto x) { return vshrq_n_u8(x, kBits); });
}
template <int kBits>
inline Bytes shift_bytes_left(Bytes a) {
  return each(a, [](auto x) { return vshlq_n_u8(x, kBits); });
}

// 4 bytes in every lane.
inline int8x16_t splat_bytes(const int8_t* q) {
  int32_t x;
  std::memcpy(&x, q, sizeof x);
  return vreinterpretq_s8_s32(vdupq_n_s32(x));
}

// Sums of products of codes, not yet 32 bits wide on every ISA: widened before a lane's part
// exceeds kNarrowLimit.
using Narrow = I32;
constexpr size_t kNarrowLimit = SIZE_MAX;
inline Narrow zero_narrow() { return zero_int(); }
inline I32 widen(Narrow v) { return v; }

// int8 weights as dot_int8 takes them.
constexpr int32_t kInt8Offset = 0;
inline Bytes int8_side(Bytes w) { return w; }
// The same of weight + 128.
inline Bytes int8_side_of_code(Bytes code) { return sub_bytes(code, splat_byte(128)); }
// sum[l] += the products of the 4 signed bytes of lane l of w with those of x.
inline void dot_int8(I32& sum, Bytes w, int8x16_t x) {
  sum.v0 = vdotq_s32(sum.v0, vreinterpretq_s8_u8(w.v0), x);
  sum.v1 = vdotq_s32(sum.v1, vreinterpretq_s8_u8(w.v1), x);
  sum.v2 = vdotq_s32(sum.v2, vreinterpretq_s8_u8(w.v2), x);
  sum.v3 = vdotq_s32(sum.v3, vreinterpretq_s8_u8(w.v3), x);
}

#if defined(__ARM_FEATURE_MATMUL_INT8)
constexpr int kUnshiftedTokens = 1;
inline void dot_codes(Narrow& sum, Bytes w, int8x16_t x) {
  sum.v0 = vusdotq_s32(sum.v0, w.v0, x);
  sum.v1 = vusdotq_s32(sum.v1, w.v1, x);
  sum.v2 = vusdotq_s32(sum.v2, w.v2, x);
  sum.v3 = vusdotq_s32(sum.v3, w.v3, x);
}
#else
constexpr int kUnshiftedTokens = 0;
// Codes are at most 15 here: the same as signed bytes.
inline void dot_codes(Narrow& sum, Bytes w, int8x16_t x) { dot_int8(sum, w, x); }
#endif

}  // namespace
}  // namespace tristill::kernels
