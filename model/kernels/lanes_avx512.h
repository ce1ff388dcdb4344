// Vectors of 16 lanes with AVX-512 (F, BW, VL, DQ, VNNI): the words that the kernels of vector_*.h
// are written in. For an ISA file alone; everything is private to the file that includes it.
// Limit: two vpdpbusd of 64 products a cycle, two fused multiply-adds of 16 lanes.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace tristill::kernels {
namespace {

using F32 = __m512;
using I32 = __m512i;
using Bytes = __m512i;  // 64 of them

// Shapes of the register tiles.
constexpr int kTileTokens = 12;      // of a linear layer
constexpr int kTileHalves = 2;       // of a panel, at once
constexpr int kUnshiftedTokens = 3;  // up to here codes are masked where they stand
constexpr int kAttentionQueries = 6;
constexpr int kScoreVectors = 12;    // accumulators of scores: queries times blocks
constexpr int kValueVectors = 24;    // accumulators of values: queries times 16 dimensions

inline __mmask16 first_lanes(size_t n) {
  return n >= 16 ? static_cast<__mmask16>(0xFFFF) : static_cast<__mmask16>((1U << n) - 1U);
}

inline F32 zero() { return _mm512_setzero_ps(); }
inline F32 splat(float x) { return _mm512_set1_ps(x); }
inline F32 load(const float* x) { return _mm512_loadu_ps(x); }
inline F32 load(const float* x, size_t n) { return _mm512_maskz_loadu_ps(first_lanes(n), x); }
inline void store(float* x, F32 v) { _mm512_storeu_ps(x, v); }
inline void store(float* x, F32 v, size_t n) { _mm512_mask_storeu_ps(x, first_lanes(n), v); }
inline F32 add(F32 a, F32 b) { return _mm512_add_ps(a, b); }
// b in the first n lanes, a in the others.
inline F32 replace_first(F32 a, F32 b, size_t n) {
  return _mm512_mask_mov_ps(a, first_lanes(n), b);
}
// a + b in the first n lanes, a in the others.
inline F32 add(F32 a, F32 b, size_t n) { return _mm512_mask_add_ps(a, first_lanes(n), a, b); }
inline F32 sub(F32 a, F32 b) { return _mm512_sub_ps(a, b); }
inline F32 mul(F32 a, F32 b) { return _mm512_mul_ps(a, b); }
inline F32 div(F32 a, F32 b) { return _mm512_div_ps(a, b); }
inline F32 fma(F32 a, F32 b, F32 c) { return _mm512_fmadd_ps(a, b, c); }
// fma in the first n lanes, c in the others.
inline F32 fma(F32 a, F32 b, F32 c, size_t n) {
  return _mm512_mask3_fmadd_ps(a, b, c, first_lanes(n));
}
inline F32 min(F32 a, F32 b) { return _mm512_min_ps(a, b); }
inline F32 max(F32 a, F32 b) { return _mm512_max_ps(a, b); }  // b when one is NaN
inline F32 abs(F32 a) { return _mm512_abs_ps(a); }
// a where t >= limit, 0 elsewhere and where t is NaN.
inline F32 zero_below(F32 a, F32 t, float limit) {
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(t, splat(limit), _CMP_GE_OQ), a);
}
inline float square_root(float x) { return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x))); }

// The tree of kernels.h.
inline float sum(F32 v) {
  const __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  const __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}
inline float greatest(F32 v) { return _mm512_reduce_max_ps(v); }

inline I32 zero_int() { return _mm512_setzero_si512(); }
inline I32 splat_int(int32_t x) { return _mm512_set1_epi32(x); }
inline I32 load_int(const int32_t* x) { return _mm512_loadu_si512(x); }
inline void store_int(int32_t* x, I32 v) { _mm512_storeu_si512(x, v); }
inline I32 add(I32 a, I32 b) { return _mm512_add_epi32(a, b); }
inline I32 sub(I32 a, I32 b) { return _mm512_sub_epi32(a, b); }
inline I32 mul(I32 a, I32 b) { return _mm512_mullo_epi32(a, b); }
template <int kBits>
inline I32 shift_right(I32 a) {
  return _mm512_srai_epi32(a, kBits);
}
inline int32_t sum(I32 v) { return _mm512_reduce_add_epi32(v); }
inline F32 to_float(I32 v) { return _mm512_cvtepi32_ps(v); }
inline I32 round_to_int(F32 v) { return _mm512_cvtps_epi32(v); }  // half to even
// 2^n for whole n in -126 .. 127.
inline F32 power_of_two(F32 n) {
  const I32 biased = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
  return _mm512_castsi512_ps(_mm512_slli_epi32(biased, 23));
}
// Lanes in -128 .. 127 as 16 bytes.
inline void store_bytes(int8_t* to, I32 v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(v));
}
inline F32 load_int8(const int8_t* x) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(x));
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
}

inline F32 load_half(const uint16_t* x) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x)));
}
inline void store_half(uint16_t* x, F32 v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(x), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}

inline void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }

inline Bytes load_bytes(const uint8_t* p) { return _mm512_loadu_si512(p); }
inline Bytes splat_byte(int x) { return _mm512_set1_epi8(static_cast<char>(x)); }
inline Bytes sub_bytes(Bytes a, Bytes b) { return _mm512_sub_epi8(a, b); }
inline Bytes min_bytes(Bytes a, Bytes b) { return _mm512_min_epu8(a, b); }
inline Bytes and_bytes(Bytes a, Bytes b) { return _mm512_and_si512(a, b); }
inline Bytes or_bytes(Bytes a, Bytes b) { return _mm512_or_si512(a, b); }
// Bits come in from the neighbour: mask them.
template <int kBits>
inline Bytes shift_bytes_right(Bytes a) {
  return _mm512_srli_epi16(a, kBits);
}
template <int kBits>
inline Bytes shift_bytes_left(Bytes a) {
  return _mm512_slli_epi16(a, kBits);
}

#if defined(__AVX512VBMI__)
struct TritTable {
  alignas(64) uint8_t of[128];
};
constexpr TritTable kTrits = [] {
  TritTable table{};
  for (int v = 0; v < 81; ++v) {
    table.of[v] = static_cast<uint8_t>(v % 3 + v / 3 % 3 * 4 + v / 9 % 3 * 16 + v / 27 * 64);
  }
  return table;
}();
// t0 + 3 t1 + 9 t2 + 27 t3 -> t0 + 4 t1 + 16 t2 + 64 t3, in every byte.
inline Bytes trits_by_table(Bytes v) {
  return _mm512_permutex2var_epi8(_mm512_load_si512(kTrits.of), v,
                                  _mm512_load_si512(kTrits.of + 64));
}
#endif

// 4 bytes in every lane.
inline I32 splat_bytes(const int8_t* q) {
  int32_t x;
  std::memcpy(&x, q, sizeof x);
  return _mm512_set1_epi32(x);
}

// sum[l] += the products of the 4 unsigned bytes of lane l of w with the 4 signed bytes of x. Not
// by the compiler's builtin, around which GCC 12 copies every accumulator twice a turn.
inline void multiply_add(I32& sum, Bytes w, I32 x) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(w), "v"(x));
}

// Sums of products of codes, not yet 32 bits wide on every ISA: widened before a lane's part
// exceeds kNarrowLimit.
using Narrow = I32;
constexpr size_t kNarrowLimit = SIZE_MAX;
inline Narrow zero_narrow() { return zero_int(); }
inline I32 widen(Narrow v) { return v; }
inline void dot_codes(Narrow& sum, Bytes w, I32 x) { multiply_add(sum, w, x); }

// int8 weights as dot_int8 takes them: as unsigned bytes, kInt8Offset too great.
constexpr int32_t kInt8Offset = 128;
inline Bytes int8_side(Bytes w) {
  return _mm512_xor_si512(w, _mm512_set1_epi8(static_cast<char>(0x80)));
}
// The same of weight + 128.
inline Bytes int8_side_of_code(Bytes code) { return code; }
inline void dot_int8(I32& sum, Bytes w, I32 x) { multiply_add(sum, w, x); }

}  // namespace
}  // namespace tristill::kernels
