// Vectors of 16 lanes with AVX2, FMA and F16C, and with AVX-VNNI where the including file is
// compiled for it: the words that the kernels of vector_*.h are written in. For an ISA file alone;
// everything is private to the file that includes it.
// Limit with AVX-VNNI: two vpdpbusd of 32 products a cycle; without, one vpmaddubsw of 32 products
// of ternary codes and one addition a cycle, half as many of int8 weights.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace tristill::kernels {
namespace {

// Lane l is in low for l < 8.
struct F32 {
  __m256 low, high;
};
struct I32 {
  __m256i low, high;
};
using Bytes = I32;  // 64 of them

constexpr int kTileTokens = 4;
constexpr int kTileHalves = 1;
constexpr int kAttentionQueries = 4;
constexpr int kScoreVectors = 4;
constexpr int kValueVectors = 4;

inline __m256i first_eight(size_t n) {
  const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n > 8 ? 8 : static_cast<int>(n)), index);
}
inline size_t over_eight(size_t n) { return n > 8 ? n - 8 : 0; }

inline F32 zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
inline F32 splat(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline F32 load(const float* x) { return {_mm256_loadu_ps(x), _mm256_loadu_ps(x + 8)}; }
inline F32 load(const float* x, size_t n) {
  return n >= 16 ? load(x)
                 : F32{_mm256_maskload_ps(x, first_eight(n)),
                       _mm256_maskload_ps(x + 8, first_eight(over_eight(n)))};
}
inline void store(float* x, F32 v) {
  _mm256_storeu_ps(x, v.low);
  _mm256_storeu_ps(x + 8, v.high);
}
inline void store(float* x, F32 v, size_t n) {
  if (n >= 16) return store(x, v);
  _mm256_maskstore_ps(x, first_eight(n), v.low);
  _mm256_maskstore_ps(x + 8, first_eight(over_eight(n)), v.high);
}
inline F32 add(F32 a, F32 b) {
  return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
}
// b in the first n lanes, a in the others.
inline F32 replace_first(F32 a, F32 b, size_t n) {
  return {_mm256_blendv_ps(a.low, b.low, _mm256_castsi256_ps(first_eight(n))),
          _mm256_blendv_ps(a.high, b.high, _mm256_castsi256_ps(first_eight(over_eight(n))))};
}
// a + b in the first n lanes, a in the others.
inline F32 add(F32 a, F32 b, size_t n) { return replace_first(a, add(a, b), n); }
inline F32 sub(F32 a, F32 b) {
  return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)};
}
inline F32 mul(F32 a, F32 b) {
  return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
}
inline F32 div(F32 a, F32 b) {
  return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)};
}
inline F32 fma(F32 a, F32 b, F32 c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
// fma in the first n lanes, c in the others.
inline F32 fma(F32 a, F32 b, F32 c, size_t n) { return replace_first(c, fma(a, b, c), n); }
inline F32 min(F32 a, F32 b) {
  return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)};
}
inline F32 max(F32 a, F32 b) {  // b when one is NaN
  return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)};
}
inline F32 abs(F32 a) {
  const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7FFFFFFF));
  return {_mm256_and_ps(a.low, magnitude), _mm256_and_ps(a.high, magnitude)};
}
// a where t >= limit, 0 elsewhere and where t is NaN.
inline F32 zero_below(F32 a, F32 t, float limit) {
  const __m256 l = _mm256_set1_ps(limit);
  return {_mm256_and_ps(a.low, _mm256_cmp_ps(t.low, l, _CMP_GE_OQ)),
          _mm256_and_ps(a.high, _mm256_cmp_ps(t.high, l, _CMP_GE_OQ))};
}
inline float square_root(float x) { return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x))); }

// The tree of kernels.h.
inline float sum(F32 v) {
  const __m256 a = _mm256_add_ps(v.low, v.high);
  const __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}
inline float greatest(F32 v) {
  const __m256 a = _mm256_max_ps(v.low, v.high);
  __m128 m = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  m = _mm_max_ps(m, _mm_movehl_ps(m, m));
  return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

inline __m256i load_256(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
inline void store_256(void* p, __m256i v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }

inline I32 zero_int() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
inline I32 splat_int(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
inline I32 load_int(const int32_t* x) { return {load_256(x), load_256(x + 8)}; }
inline void store_int(int32_t* x, I32 v) {
  store_256(x, v.low);
  store_256(x + 8, v.high);
}
inline I32 add(I32 a, I32 b) {
  return {_mm256_add_epi32(a.low, b.low), _mm256_add_epi32(a.high, b.high)};
}
inline I32 sub(I32 a, I32 b) {
  return {_mm256_sub_epi32(a.low, b.low), _mm256_sub_epi32(a.high, b.high)};
}
inline I32 mul(I32 a, I32 b) {
  return {_mm256_mullo_epi32(a.low, b.low), _mm256_mullo_epi32(a.high, b.high)};
}
template <int kBits>
inline I32 shift_right(I32 a) {
  return {_mm256_srai_epi32(a.low, kBits), _mm256_srai_epi32(a.high, kBits)};
}
inline int32_t sum(I32 v) {
  const __m256i both = _mm256_add_epi32(v.low, v.high);
  const __m128i a = _mm_add_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
  const __m128i b = _mm_add_epi32(a, _mm_shuffle_epi32(a, 0x4E));
  return _mm_cvtsi128_si32(_mm_add_epi32(b, _mm_shuffle_epi32(b, 0xB1)));
}
inline F32 to_float(I32 v) { return {_mm256_cvtepi32_ps(v.low), _mm256_cvtepi32_ps(v.high)}; }
inline I32 round_to_int(F32 v) {  // half to even
  return {_mm256_cvtps_epi32(v.low), _mm256_cvtps_epi32(v.high)};
}
// 2^n for whole n in -126 .. 127.
inline F32 power_of_two(F32 n) {
  const I32 biased = add(round_to_int(n), splat_int(127));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(biased.low, 23)),
          _mm256_castsi256_ps(_mm256_slli_epi32(biased.high, 23))};
}
// Lanes in -128 .. 127 as 16 bytes.
inline void store_bytes(int8_t* to, I32 v) {
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(v.low, v.high), 0xD8);
  const __m128i bytes =
      _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), bytes);
}
inline F32 load_int8(const int8_t* x) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(x));
  return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)),
          _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8)))};
}

inline F32 load_half(const uint16_t* x) {
  const auto* halves = reinterpret_cast<const __m128i*>(x);
  return {_mm256_cvtph_ps(_mm_loadu_si128(halves)), _mm256_cvtph_ps(_mm_loadu_si128(halves + 1))};
}
inline void store_half(uint16_t* x, F32 v) {
  auto* halves = reinterpret_cast<__m128i*>(x);
  _mm_storeu_si128(halves, _mm256_cvtps_ph(v.low, _MM_FROUND_TO_NEAREST_INT));
  _mm_storeu_si128(halves + 1, _mm256_cvtps_ph(v.high, _MM_FROUND_TO_NEAREST_INT));
}

inline void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }

inline Bytes load_bytes(const uint8_t* p) { return {load_256(p), load_256(p + 32)}; }
inline Bytes splat_byte(int x) {
  const __m256i v = _mm256_set1_epi8(static_cast<char>(x));
  return {v, v};
}
inline Bytes sub_bytes(Bytes a, Bytes b) {
  return {_mm256_sub_epi8(a.low, b.low), _mm256_sub_epi8(a.high, b.high)};
}
inline Bytes min_bytes(Bytes a, Bytes b) {
  return {_mm256_min_epu8(a.low, b.low), _mm256_min_epu8(a.high, b.high)};
}
inline Bytes and_bytes(Bytes a, Bytes b) {
  return {_mm256_and_si256(a.low, b.low), _mm256_and_si256(a.high, b.high)};
}
inline Bytes or_bytes(Bytes a, Bytes b) {
  return {_mm256_or_si256(a.low, b.low), _mm256_or_si256(a.high, b.high)};
}
// Bits come in from the neighbour: mask them.
template <int kBits>
inline Bytes shift_bytes_right(Bytes a) {
  return {_mm256_srli_epi16(a.low, kBits), _mm256_srli_epi16(a.high, kBits)};
}
template <int kBits>
inline Bytes shift_bytes_left(Bytes a) {
  return {_mm256_slli_epi16(a.low, kBits), _mm256_slli_epi16(a.high, kBits)};
}

// 4 bytes in every lane (of both halves).
inline __m256i splat_bytes(const int8_t* q) {
  int32_t x;
  std::memcpy(&x, q, sizeof x);
  return _mm256_set1_epi32(x);
}

#if defined(__AVXVNNI__)
constexpr int kUnshiftedTokens = 1;

// Sums of products of codes, not yet 32 bits wide on every ISA: widened before a lane's part
// exceeds kNarrowLimit.
using Narrow = I32;
constexpr size_t kNarrowLimit = SIZE_MAX;
inline I32 widen(Narrow v) { return v; }
// sum[l] += the products of the 4 unsigned bytes of lane l of w with the 4 signed bytes of x. Not
// by the compiler's builtin, around which GCC 12 copies every accumulator twice a turn.
inline void multiply_add(I32& sum, Bytes w, __m256i x) {
  asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum.low) : "x"(w.low), "x"(x));
  asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum.high) : "x"(w.high), "x"(x));
}
inline void dot_codes(Narrow& sum, Bytes w, __m256i x) { multiply_add(sum, w, x); }

// int8 weights as dot_int8 takes them: as unsigned bytes, kInt8Offset too great.
constexpr int32_t kInt8Offset = 128;
inline Bytes int8_side(Bytes w) {
  const __m256i offset = _mm256_set1_epi8(static_cast<char>(0x80));
  return {_mm256_xor_si256(w.low, offset), _mm256_xor_si256(w.high, offset)};
}
// The same of weight + 128.
inline Bytes int8_side_of_code(Bytes code) { return code; }
inline void dot_int8(I32& sum, Bytes w, __m256i x) { multiply_add(sum, w, x); }
#else
constexpr int kUnshiftedTokens = 0;

// Two 16-bit sums a lane.
struct Narrow {
  __m256i low, high;
};
constexpr size_t kNarrowLimit = 32767;
inline I32 widen(Narrow v) {
  const __m256i ones = _mm256_set1_epi16(1);
  return {_mm256_madd_epi16(v.low, ones), _mm256_madd_epi16(v.high, ones)};
}
inline void dot_codes(Narrow& sum, Bytes w, __m256i x) {
  sum.low = _mm256_add_epi16(sum.low, _mm256_maddubs_epi16(w.low, x));
  sum.high = _mm256_add_epi16(sum.high, _mm256_maddubs_epi16(w.high, x));
}

// |w| * (x with the sign of w): at most 128 * 127 * 2 in 16 bits.
constexpr int32_t kInt8Offset = 0;
inline Bytes int8_side(Bytes w) { return w; }
inline Bytes int8_side_of_code(Bytes code) { return sub_bytes(code, splat_byte(128)); }
inline __m256i dot_signed(__m256i sum, __m256i w, __m256i x) {
  const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
inline void dot_int8(I32& sum, Bytes w, __m256i x) {
  sum = {dot_signed(sum.low, w.low, x), dot_signed(sum.high, w.high, x)};
}
#endif
inline Narrow zero_narrow() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }

}  // namespace
}  // namespace tristill::kernels
