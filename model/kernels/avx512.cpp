// AVX-512 with VNNI. Limit: two vpdpbusd of 64 products a cycle (256 int8 operations a cycle).
//
// Integer products: vpdpbusd multiplies unsigned by signed bytes, so weights are the unsigned side
// (ternary codes T + 1; int8 values + 128) and offset * sum(q) is subtracted at the end.
//   few tokens:  dot form. Rows of weights stream through registers once, lanes are summed at the
//                end of a row.
//   many tokens: panel form. 32 rows are transposed into [cols / 4][32 rows][4] on the stack and
//                meet tiles of 12 tokens, [cols / 4][12 tokens][4]: 24 accumulators, one a
//                (16 rows, token), no sum across lanes.
#if defined(__x86_64__)
#include <immintrin.h>

#include "model/kernels/kernels.h"

namespace tristill::kernels {
namespace {

constexpr size_t kTernaryDotTokens = 8;  // up to here the dot form
constexpr size_t kInt8DotTokens = 20;
constexpr size_t kPanelRows = 32;
constexpr size_t kTileTokens = 12;
constexpr size_t kBlockTokens = 240;  // tokens packed at once: 240 KiB, lives in L2
constexpr size_t kBlockCols = 1024;   // columns packed at once: the panel, 32 KiB, lives in L1

inline __mmask16 lanes16(size_t n) {
  return n >= 16 ? static_cast<__mmask16>(0xFFFF) : static_cast<__mmask16>((1U << n) - 1U);
}
inline __mmask64 lanes64(size_t n) { return n >= 64 ? ~0ULL : (1ULL << n) - 1ULL; }

// The tree of kernels.h.
inline float sum_lanes(__m512 v) {
  const __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  const __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}

// Lanes of (a tree of a, a tree of b): one level of the tree for two vectors at once. The first
// level leaves 8 lanes each, the second 4, the third 2, the fourth 1.
inline __m512 halve8(__m512 a, __m512 b) {
  return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xEE));
}
inline __m512 halve4(__m512 a, __m512 b) {
  return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xDD));
}
inline __m512 halve2(__m512 a, __m512 b) {
  return _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x44), _mm512_shuffle_ps(a, b, 0xEE));
}
inline __m512 halve1(__m512 a, __m512 b) {
  return _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xDD));
}

// The trees of 16 vectors, sum r in lane r.
inline __m512 sum_lanes16(const __m512* v) {
  __m512 t[8];
  for (int i = 0; i < 8; ++i) t[i] = halve8(v[2 * i], v[2 * i + 1]);
  for (int i = 0; i < 4; ++i) t[i] = halve4(t[2 * i], t[2 * i + 1]);
  for (int i = 0; i < 2; ++i) t[i] = halve2(t[2 * i], t[2 * i + 1]);
  // Now 128-bit lane g of t[i] holds vectors i*8 + {g, 4 + g} with two lanes each, in the order
  // that the shuffles left; the last level and one permutation put sum r into lane r.
  const __m512 mixed = halve1(t[0], t[1]);
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return _mm512_permutexvar_ps(order, mixed);
}

// The sums of four integer vectors.
inline __m128i sum_lanes4(__m512i a, __m512i b, __m512i c, __m512i d) {
  const __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
  const __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
  const __m512i s = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
  const __m256i h = _mm256_add_epi32(_mm512_castsi512_si256(s), _mm512_extracti64x4_epi64(s, 1));
  return _mm_add_epi32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
}

inline __m512 exp_lanes(__m512 t) {
  const __mmask16 live = _mm512_cmp_ps_mask(t, _mm512_set1_ps(-87.0F), _CMP_GE_OQ);
  t = _mm512_maskz_min_ps(live, t, _mm512_set1_ps(88.0F));
  const __m512 round = _mm512_set1_ps(12582912.0F);
  const __m512 n = _mm512_sub_ps(
      _mm512_add_ps(_mm512_mul_ps(t, _mm512_set1_ps(1.44269504088896341F)), round), round);
  __m512 r = _mm512_sub_ps(t, _mm512_mul_ps(n, _mm512_set1_ps(0.693359375F)));
  r = _mm512_sub_ps(r, _mm512_mul_ps(n, _mm512_set1_ps(-2.12194440e-4F)));
  __m512 p = _mm512_set1_ps(1.9875691500e-4F);
  p = _mm512_add_ps(_mm512_mul_ps(p, r), _mm512_set1_ps(1.3981999507e-3F));
  p = _mm512_add_ps(_mm512_mul_ps(p, r), _mm512_set1_ps(8.3334519073e-3F));
  p = _mm512_add_ps(_mm512_mul_ps(p, r), _mm512_set1_ps(4.1665795894e-2F));
  p = _mm512_add_ps(_mm512_mul_ps(p, r), _mm512_set1_ps(1.6666665459e-1F));
  p = _mm512_add_ps(_mm512_mul_ps(p, r), _mm512_set1_ps(5.0000001201e-1F));
  p = _mm512_add_ps(_mm512_add_ps(_mm512_mul_ps(p, _mm512_mul_ps(r, r)), r), _mm512_set1_ps(1.0F));
  const __m512i bits =
      _mm512_slli_epi32(_mm512_add_epi32(_mm512_cvttps_epi32(n), _mm512_set1_epi32(127)), 23);
  return _mm512_maskz_mul_ps(live, p, _mm512_castsi512_ps(bits));
}

float dot(const float* a, const float* b, size_t n) {
  __m512 sum = _mm512_setzero_ps();
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    sum = _mm512_add_ps(sum, _mm512_mul_ps(_mm512_loadu_ps(a + i), _mm512_loadu_ps(b + i)));
  }
  if (i < n) {
    const __mmask16 m = lanes16(n - i);
    const __m512 product =
        _mm512_mul_ps(_mm512_maskz_loadu_ps(m, a + i), _mm512_maskz_loadu_ps(m, b + i));
    sum = _mm512_mask_add_ps(sum, m, sum, product);
  }
  return sum_lanes(sum);
}

void dot_rows(const float* a, const float* b, size_t ld_b, size_t rows, size_t n, float* out) {
  size_t r = 0;
  if (n % 16 == 0) {
    for (; r + 16 <= rows; r += 16) {
      __m512 sums[16];
      for (int j = 0; j < 16; j += 4) {
        const float* row = b + (r + static_cast<size_t>(j)) * ld_b;
        __m512 s0 = _mm512_setzero_ps();
        __m512 s1 = s0, s2 = s0, s3 = s0;
        for (size_t i = 0; i < n; i += 16) {
          const __m512 x = _mm512_loadu_ps(a + i);
          s0 = _mm512_add_ps(s0, _mm512_mul_ps(x, _mm512_loadu_ps(row + i)));
          s1 = _mm512_add_ps(s1, _mm512_mul_ps(x, _mm512_loadu_ps(row + ld_b + i)));
          s2 = _mm512_add_ps(s2, _mm512_mul_ps(x, _mm512_loadu_ps(row + 2 * ld_b + i)));
          s3 = _mm512_add_ps(s3, _mm512_mul_ps(x, _mm512_loadu_ps(row + 3 * ld_b + i)));
        }
        sums[j] = s0;
        sums[j + 1] = s1;
        sums[j + 2] = s2;
        sums[j + 3] = s3;
      }
      _mm512_storeu_ps(out + r, sum_lanes16(sums));
    }
  }
  for (; r < rows; ++r) out[r] = dot(a, b + r * ld_b, n);
}

void rms_norm(const float* x, const float* gain, float eps, float* y, size_t rows, size_t cols) {
  for (size_t r = 0; r < rows; ++r, x += cols, y += cols) {
    const float mean = dot(x, x, cols) / static_cast<float>(cols);
    const float root = _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(mean + eps)));
    const __m512 inverse = _mm512_set1_ps(1.0F / root);
    for (size_t c = 0; c < cols; c += 16) {
      const __mmask16 m = lanes16(cols - c);
      const __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(m, x + c), inverse);
      _mm512_mask_storeu_ps(y + c, m, _mm512_mul_ps(v, _mm512_maskz_loadu_ps(m, gain + c)));
    }
  }
}

void axpy(float a, const float* x, float* y, size_t n) {
  const __m512 factor = _mm512_set1_ps(a);
  for (size_t i = 0; i < n; i += 16) {
    const __mmask16 m = lanes16(n - i);
    const __m512 product = _mm512_mul_ps(factor, _mm512_maskz_loadu_ps(m, x + i));
    _mm512_mask_storeu_ps(y + i, m, _mm512_add_ps(_mm512_maskz_loadu_ps(m, y + i), product));
  }
}

void axpy_rows(const float* a, const float* x, size_t ld_x, size_t rows, float* y, size_t n) {
  size_t i = 0;
  for (; i + 64 <= n; i += 64) {
    __m512 y0 = _mm512_loadu_ps(y + i);
    __m512 y1 = _mm512_loadu_ps(y + i + 16);
    __m512 y2 = _mm512_loadu_ps(y + i + 32);
    __m512 y3 = _mm512_loadu_ps(y + i + 48);
    for (size_t r = 0; r < rows; ++r) {
      const __m512 factor = _mm512_set1_ps(a[r]);
      const float* row = x + r * ld_x + i;
      y0 = _mm512_add_ps(y0, _mm512_mul_ps(factor, _mm512_loadu_ps(row)));
      y1 = _mm512_add_ps(y1, _mm512_mul_ps(factor, _mm512_loadu_ps(row + 16)));
      y2 = _mm512_add_ps(y2, _mm512_mul_ps(factor, _mm512_loadu_ps(row + 32)));
      y3 = _mm512_add_ps(y3, _mm512_mul_ps(factor, _mm512_loadu_ps(row + 48)));
    }
    _mm512_storeu_ps(y + i, y0);
    _mm512_storeu_ps(y + i + 16, y1);
    _mm512_storeu_ps(y + i + 32, y2);
    _mm512_storeu_ps(y + i + 48, y3);
  }
  for (; i < n; i += 16) {
    const __mmask16 m = lanes16(n - i);
    __m512 sum = _mm512_maskz_loadu_ps(m, y + i);
    for (size_t r = 0; r < rows; ++r) {
      const __m512 v = _mm512_maskz_loadu_ps(m, x + r * ld_x + i);
      sum = _mm512_add_ps(sum, _mm512_mul_ps(_mm512_set1_ps(a[r]), v));
    }
    _mm512_mask_storeu_ps(y + i, m, sum);
  }
}

void scale_sums(const int32_t* acc, const float* scale, size_t step, float s, float* y, size_t n) {
  const __m512 token = _mm512_set1_ps(s);
  for (size_t i = 0; i < n; i += 16) {
    const __mmask16 m = lanes16(n - i);
    const __m512 row = step == 0 ? _mm512_set1_ps(scale[0]) : _mm512_maskz_loadu_ps(m, scale + i);
    const __m512 value = _mm512_cvtepi32_ps(_mm512_maskz_loadu_epi32(m, acc + i));
    _mm512_mask_storeu_ps(y + i, m, _mm512_mul_ps(value, _mm512_mul_ps(row, token)));
  }
}

void rotate_half(float* x, const float* cosine, const float* sine, size_t half) {
  for (size_t i = 0; i < half; i += 16) {
    const __mmask16 m = lanes16(half - i);
    const __m512 a = _mm512_maskz_loadu_ps(m, x + i);
    const __m512 b = _mm512_maskz_loadu_ps(m, x + half + i);
    const __m512 c = _mm512_maskz_loadu_ps(m, cosine + i);
    const __m512 s = _mm512_maskz_loadu_ps(m, sine + i);
    const __m512 first = _mm512_sub_ps(_mm512_mul_ps(a, c), _mm512_mul_ps(b, s));
    const __m512 second = _mm512_add_ps(_mm512_mul_ps(b, c), _mm512_mul_ps(a, s));
    _mm512_mask_storeu_ps(x + i, m, first);
    _mm512_mask_storeu_ps(x + half + i, m, second);
  }
}

float exp_sum(float* x, float max, size_t n) {
  const __m512 most = _mm512_set1_ps(max);
  __m512 sum = _mm512_setzero_ps();
  for (size_t i = 0; i < n; i += 16) {
    const __mmask16 m = lanes16(n - i);
    const __m512 e = exp_lanes(_mm512_sub_ps(_mm512_maskz_loadu_ps(m, x + i), most));
    _mm512_mask_storeu_ps(x + i, m, e);
    sum = _mm512_mask_add_ps(sum, m, sum, e);
  }
  return sum_lanes(sum);
}

void swiglu(const float* gate, const float* up, float* out, size_t n) {
  for (size_t i = 0; i < n; i += 16) {
    const __mmask16 m = lanes16(n - i);
    const __m512 g = _mm512_maskz_loadu_ps(m, gate + i);
    const __m512 e = exp_lanes(_mm512_sub_ps(_mm512_setzero_ps(), g));
    const __m512 silu = _mm512_div_ps(g, _mm512_add_ps(_mm512_set1_ps(1.0F), e));
    _mm512_mask_storeu_ps(out + i, m, _mm512_mul_ps(silu, _mm512_maskz_loadu_ps(m, up + i)));
  }
}

void squared_relu_glu(const float* gate, const float* up, float* out, size_t n) {
  for (size_t i = 0; i < n; i += 16) {
    const __mmask16 m = lanes16(n - i);
    const __m512 g = _mm512_max_ps(_mm512_maskz_loadu_ps(m, gate + i), _mm512_setzero_ps());
    const __m512 u = _mm512_maskz_loadu_ps(m, up + i);
    _mm512_mask_storeu_ps(out + i, m, _mm512_mul_ps(_mm512_mul_ps(g, g), u));
  }
}

void quantize_token(const float* x, size_t cols, int8_t* q, float* scale, int32_t* sum) {
  __m512 most = _mm512_setzero_ps();
  for (size_t c = 0; c < cols; c += 16) {
    const __m512 v = _mm512_maskz_loadu_ps(lanes16(cols - c), x + c);
    most = _mm512_max_ps(_mm512_abs_ps(v), most);
  }
  const float absmax = _mm512_reduce_max_ps(most);
  const float inverse = 127.0F / absmax;
  const bool zero = inverse > 3.402823466e+38F;
  *scale = zero ? 0.0F : absmax / 127.0F;
  const __m512 factor = _mm512_set1_ps(inverse);
  __m512i total = _mm512_setzero_si512();
  for (size_t c = 0; c < cols; c += 16) {
    const __mmask16 m = lanes16(cols - c);
    __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(m, x + c), factor);
    v = _mm512_max_ps(v, _mm512_set1_ps(-127.0F));
    v = _mm512_min_ps(v, _mm512_set1_ps(127.0F));
    const __m512i rounded = _mm512_maskz_cvtps_epi32(zero ? __mmask16{0} : m, v);
    total = _mm512_add_epi32(total, rounded);
    _mm_mask_storeu_epi8(q + c, m, _mm512_cvtepi32_epi8(rounded));
  }
  *sum = _mm512_reduce_add_epi32(total);
}

void quantize_tokens(const float* x, size_t tokens, size_t cols, int8_t* q, float* scale,
                     int32_t* sum) {
  for (size_t t = 0; t < tokens; ++t) {
    quantize_token(x + t * cols, cols, q + t * cols, scale + t, sum + t);
  }
}

// 16 rows of 16 dwords -> 16 vectors of dword d of every row, in place.
inline void transpose16(__m512i* v) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    v[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    v[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    v[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    v[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(v[i], v[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(v[i], v[i + 4], 0xDD);
    t[i + 8] = _mm512_shuffle_i32x4(v[i + 8], v[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(v[i + 8], v[i + 12], 0xDD);
  }
  for (int i = 0; i < 4; ++i) {
    v[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    v[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xDD);
    v[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
    v[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xDD);
  }
}

// Columns col .. col + cols of up to 32 rows -> panel [ceil(cols / 4)][32][4], offset added.
void pack_panel(const Int8View& w, size_t row, size_t rows, size_t col, size_t cols,
                uint8_t* panel) {
  const __m512i offset = _mm512_set1_epi8(static_cast<char>(0x80));
  for (size_t half = 0; half < kPanelRows; half += 16) {
    for (size_t c = 0; c < cols; c += 64) {
      const __mmask64 m = lanes64(cols - c);
      __m512i v[16];
      for (size_t r = 0; r < 16; ++r) {
        v[r] = half + r < rows
                   ? _mm512_maskz_loadu_epi8(m, w.weights + (row + half + r) * w.cols + col + c)
                   : _mm512_setzero_si512();
      }
      transpose16(v);
      const size_t dwords = cols - c >= 64 ? 16 : (cols - c + 3) / 4;
      for (size_t d = 0; d < dwords; ++d) {
        _mm512_store_si512(panel + (c / 4 + d) * kPanelRows * 4 + half * 4,
                           _mm512_xor_si512(v[d], offset));
      }
    }
  }
}

// The same from ternary codes; cols is a multiple of 256. Transposed before it is unpacked.
void pack_panel(const TernaryView& w, size_t row, size_t rows, size_t col, size_t cols,
                uint8_t* panel) {
  const __m512i code = _mm512_set1_epi8(3);
  for (size_t half = 0; half < kPanelRows; half += 16) {
    for (size_t c = 0; c < cols; c += 256) {
      __m512i v[16];
      for (size_t r = 0; r < 16; ++r) {
        v[r] = half + r < rows
                   ? _mm512_loadu_si512(w.packed + (row + half + r) * (w.cols / 4) + (col + c) / 4)
                   : _mm512_setzero_si512();
      }
      transpose16(v);
      for (size_t d = 0; d < 16; ++d) {
        uint8_t* to = panel + (c / 4 + d / 8 * 32 + d % 8) * kPanelRows * 4 + half * 4;
        constexpr size_t kPart = size_t{8} * kPanelRows * 4;  // 32 columns on
        _mm512_store_si512(to, _mm512_and_si512(v[d], code));
        _mm512_store_si512(to + kPart, _mm512_and_si512(_mm512_srli_epi16(v[d], 2), code));
        _mm512_store_si512(to + 2 * kPart, _mm512_and_si512(_mm512_srli_epi16(v[d], 4), code));
        _mm512_store_si512(to + 3 * kPart, _mm512_and_si512(_mm512_srli_epi16(v[d], 6), code));
      }
    }
  }
}

// Up to 12 tokens -> [ceil(cols / 4)][12][4], zeros beyond, and the sum of each token.
void pack_tokens(const int8_t* q, size_t ld, size_t tokens, size_t cols, int8_t* packed,
                 int32_t* sum) {
  const __m512i ones = _mm512_set1_epi8(1);
  __m512i total[kTileTokens];
  for (auto& t : total) t = _mm512_setzero_si512();
  for (size_t c = 0; c < cols; c += 64) {
    const __mmask64 m = lanes64(cols - c);
    __m512i v[16];
    for (size_t t = 0; t < 16; ++t) {
      v[t] = t < tokens ? _mm512_maskz_loadu_epi8(m, q + t * ld + c) : _mm512_setzero_si512();
      if (t < kTileTokens) total[t] = _mm512_dpbusd_epi32(total[t], ones, v[t]);
    }
    transpose16(v);
    const size_t dwords = cols - c >= 64 ? 16 : (cols - c + 3) / 4;
    for (size_t d = 0; d < dwords; ++d) {
      _mm512_mask_storeu_epi32(packed + (c / 4 + d) * kTileTokens * 4, 0x0FFF, v[d]);
    }
  }
  for (size_t t = 0; t < kTileTokens; ++t) sum[t] = _mm512_reduce_add_epi32(total[t]);
}

struct Tile {
  const uint8_t* panel;   // [steps][32][4]
  const int8_t* tokens;   // [steps][12][4]
  const int32_t* sum;     // [12]
  size_t steps;
  int32_t offset;
  __mmask16 low, high;    // which of the 32 rows exist
  bool first;             // writes acc; later column blocks add to it
  int32_t* acc;
  size_t ld_acc;
};

// The 32 sums of token t, corrected, to acc.
inline void store_sums(const Tile& tile, int t, const int32_t* sums) {
  int32_t* to = tile.acc + static_cast<size_t>(t) * tile.ld_acc;
  const __m512i correction = _mm512_set1_epi32(tile.offset * tile.sum[t]);
  __m512i low = _mm512_sub_epi32(_mm512_load_si512(sums), correction);
  __m512i high = _mm512_sub_epi32(_mm512_load_si512(sums + 16), correction);
  if (!tile.first) {
    low = _mm512_add_epi32(low, _mm512_maskz_loadu_epi32(tile.low, to));
    high = _mm512_add_epi32(high, _mm512_maskz_loadu_epi32(tile.high, to + 16));
  }
  _mm512_mask_storeu_epi32(to, tile.low, low);
  _mm512_mask_storeu_epi32(to + 16, tile.high, high);
}

template <int kTokens>
void run_tile(const Tile& tile) {
  __m512i low[kTokens];
  __m512i high[kTokens];
#pragma GCC unroll 12
  for (int t = 0; t < kTokens; ++t) low[t] = high[t] = _mm512_setzero_si512();
  const uint8_t* w = tile.panel;
  const int8_t* q = tile.tokens;
  for (size_t step = 0; step < tile.steps; ++step) {
    const __m512i w_low = _mm512_load_si512(w);
    const __m512i w_high = _mm512_load_si512(w + 64);
#pragma GCC unroll 12
    for (int t = 0; t < kTokens; ++t) {
      const __m512i x = _mm512_broadcastd_epi32(_mm_loadu_si32(q + 4 * t));
      low[t] = _mm512_dpbusd_epi32(low[t], w_low, x);
      high[t] = _mm512_dpbusd_epi32(high[t], w_high, x);
    }
    w += kPanelRows * 4;
    q += kTileTokens * 4;
  }
  alignas(64) int32_t sums[kTokens][kPanelRows];
#pragma GCC unroll 12
  for (int t = 0; t < kTokens; ++t) {
    _mm512_store_si512(sums[t], low[t]);
    _mm512_store_si512(sums[t] + 16, high[t]);
  }
  for (int t = 0; t < kTokens; ++t) store_sums(tile, t, sums[t]);
}

using RunTile = void (*)(const Tile&);
constexpr RunTile kRunTile[kTileTokens + 1] = {
    nullptr,     run_tile<1>, run_tile<2>, run_tile<3>,  run_tile<4>,  run_tile<5>, run_tile<6>,
    run_tile<7>, run_tile<8>, run_tile<9>, run_tile<10>, run_tile<11>, run_tile<12>};

constexpr int32_t offset_of(const TernaryView&) { return 1; }
constexpr int32_t offset_of(const Int8View&) { return 128; }

template <class View>
void panel_gemm(const int8_t* q, size_t tokens, const View& w, size_t row_begin, size_t row_end,
                int32_t* acc, size_t ld_acc) {
  alignas(64) uint8_t panel[kPanelRows * kBlockCols];
  alignas(64) int8_t packed[kBlockTokens * kBlockCols];
  int32_t sum[kBlockTokens];
  for (size_t col = 0; col < w.cols; col += kBlockCols) {
    const size_t cols = w.cols - col < kBlockCols ? w.cols - col : kBlockCols;
    const size_t steps = (cols + 3) / 4;
    for (size_t from = 0; from < tokens; from += kBlockTokens) {
      const size_t n = tokens - from < kBlockTokens ? tokens - from : kBlockTokens;
      for (size_t t = 0; t < n; t += kTileTokens) {
        pack_tokens(q + (from + t) * w.cols + col, w.cols,
                    n - t < kTileTokens ? n - t : kTileTokens, cols, packed + t * steps * 4,
                    sum + t);
      }
      for (size_t row = row_begin; row < row_end; row += kPanelRows) {
        const size_t rows = row_end - row < kPanelRows ? row_end - row : kPanelRows;
        pack_panel(w, row, rows, col, cols, panel);
        for (size_t t = 0; t < n; t += kTileTokens) {
          const Tile tile = {.panel = panel,
                             .tokens = packed + t * steps * 4,
                             .sum = sum + t,
                             .steps = steps,
                             .offset = offset_of(w),
                             .low = lanes16(rows),
                             .high = rows > 16 ? lanes16(rows - 16) : __mmask16{0},
                             .first = col == 0,
                             .acc = acc + (from + t) * ld_acc + (row - row_begin),
                             .ld_acc = ld_acc};
          kRunTile[n - t < kTileTokens ? n - t : kTileTokens](tile);
        }
      }
    }
  }
}

// 4 rows (fewer at the end: `rows`) times kTokens tokens; ternary codes are unpacked once.
template <int kTokens>
void ternary_rows(const int8_t* q, const int32_t* sum, const uint8_t* const* row, size_t rows,
                  size_t cols, int32_t* acc, size_t ld_acc) {
  const __m512i code = _mm512_set1_epi8(3);
  __m512i s[4][kTokens];
#pragma GCC unroll 16
  for (size_t i = 0; i < 4 * kTokens; ++i) s[i / kTokens][i % kTokens] = _mm512_setzero_si512();
  for (size_t c = 0; c < cols; c += 256) {
    // q in the order of the codes: part p is columns 32p .. and 128 + 32p .. of the block.
    __m512i x[4][kTokens];
#pragma GCC unroll 4
    for (size_t p = 0; p < 4; ++p) {
#pragma GCC unroll 4
      for (size_t t = 0; t < kTokens; ++t) {
        const int8_t* from = q + t * cols + c + 32 * p;
        x[p][t] = _mm512_inserti64x4(
            _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))),
            _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + 128)), 1);
      }
    }
#pragma GCC unroll 4
    for (size_t r = 0; r < 4; ++r) {
      _mm_prefetch(row[r] + c / 4 + 4 * cols, _MM_HINT_T0);  // 16 rows on
      const __m512i packed = _mm512_loadu_si512(row[r] + c / 4);
      const __m512i c0 = _mm512_and_si512(packed, code);
      const __m512i c1 = _mm512_and_si512(_mm512_srli_epi16(packed, 2), code);
      const __m512i c2 = _mm512_and_si512(_mm512_srli_epi16(packed, 4), code);
      const __m512i c3 = _mm512_and_si512(_mm512_srli_epi16(packed, 6), code);
#pragma GCC unroll 4
      for (size_t t = 0; t < kTokens; ++t) {
        s[r][t] = _mm512_dpbusd_epi32(s[r][t], c0, x[0][t]);
        s[r][t] = _mm512_dpbusd_epi32(s[r][t], c1, x[1][t]);
        s[r][t] = _mm512_dpbusd_epi32(s[r][t], c2, x[2][t]);
        s[r][t] = _mm512_dpbusd_epi32(s[r][t], c3, x[3][t]);
      }
    }
  }
#pragma GCC unroll 4
  for (size_t t = 0; t < kTokens; ++t) {
    const __m128i sums = sum_lanes4(s[0][t], s[1][t], s[2][t], s[3][t]);
    _mm_mask_storeu_epi32(acc + t * ld_acc, static_cast<__mmask8>((1U << rows) - 1U),
                          _mm_sub_epi32(sums, _mm_set1_epi32(sum[t])));
  }
}

template <int kTokens>
void int8_rows(const int8_t* q, const Int8View& w, const int8_t* const* row, const int32_t* row_sum,
               size_t rows, int32_t* acc, size_t ld_acc) {
  const __m512i offset = _mm512_set1_epi8(static_cast<char>(0x80));
  __m512i s[4][kTokens];
#pragma GCC unroll 16
  for (size_t i = 0; i < 4 * kTokens; ++i) s[i / kTokens][i % kTokens] = _mm512_setzero_si512();
  for (size_t c = 0; c < w.cols; c += 64) {
    const __mmask64 m = lanes64(w.cols - c);
    __m512i x[kTokens];
#pragma GCC unroll 4
    for (size_t t = 0; t < kTokens; ++t) {
      x[t] = _mm512_xor_si512(_mm512_maskz_loadu_epi8(m, q + t * w.cols + c), offset);
    }
#pragma GCC unroll 4
    for (size_t r = 0; r < 4; ++r) {
      _mm_prefetch(row[r] + c + 4 * w.cols, _MM_HINT_T0);  // the next 4 rows
      const __m512i weights = _mm512_maskz_loadu_epi8(m, row[r] + c);
#pragma GCC unroll 4
      for (size_t t = 0; t < kTokens; ++t) s[r][t] = _mm512_dpbusd_epi32(s[r][t], x[t], weights);
    }
  }
  const __mmask8 exist = static_cast<__mmask8>((1U << rows) - 1U);
  const __m128i correction = _mm_slli_epi32(_mm_maskz_loadu_epi32(exist, row_sum), 7);
#pragma GCC unroll 4
  for (size_t t = 0; t < kTokens; ++t) {
    const __m128i sums = sum_lanes4(s[0][t], s[1][t], s[2][t], s[3][t]);
    _mm_mask_storeu_epi32(acc + t * ld_acc, exist, _mm_sub_epi32(sums, correction));
  }
}

void ternary_gemm(const int8_t* q, const int32_t* sum, size_t tokens, const TernaryView& w,
                  size_t row_begin, size_t row_end, int32_t* acc, size_t ld_acc) {
  if (tokens > kTernaryDotTokens) return panel_gemm(q, tokens, w, row_begin, row_end, acc, ld_acc);
  using Run = void (*)(const int8_t*, const int32_t*, const uint8_t* const*, size_t, size_t,
                       int32_t*, size_t);
  constexpr Run kRun[] = {nullptr, ternary_rows<1>, ternary_rows<2>, ternary_rows<3>,
                          ternary_rows<4>};
  for (size_t r = row_begin; r < row_end; r += 4) {
    const size_t rows = row_end - r < 4 ? row_end - r : 4;
    const uint8_t* row[4];
    for (size_t i = 0; i < 4; ++i) row[i] = w.packed + (r + (i < rows ? i : 0)) * (w.cols / 4);
    for (size_t t = 0; t < tokens; t += 4) {
      kRun[tokens - t < 4 ? tokens - t : 4](q + t * w.cols, sum + t, row, rows, w.cols,
                                            acc + t * ld_acc + (r - row_begin), ld_acc);
    }
  }
}

void int8_gemm(const int8_t* q, size_t tokens, const Int8View& w, size_t row_begin, size_t row_end,
               int32_t* acc, size_t ld_acc) {
  if (tokens > kInt8DotTokens) return panel_gemm(q, tokens, w, row_begin, row_end, acc, ld_acc);
  using Run = void (*)(const int8_t*, const Int8View&, const int8_t* const*, const int32_t*, size_t,
                       int32_t*, size_t);
  constexpr Run kRun[] = {nullptr, int8_rows<1>, int8_rows<2>, int8_rows<3>, int8_rows<4>};
  for (size_t r = row_begin; r < row_end; r += 4) {
    const size_t rows = row_end - r < 4 ? row_end - r : 4;
    const int8_t* row[4];
    for (size_t i = 0; i < 4; ++i) row[i] = w.weights + (r + (i < rows ? i : 0)) * w.cols;
    for (size_t t = 0; t < tokens; t += 4) {
      kRun[tokens - t < 4 ? tokens - t : 4](q + t * w.cols, w, row, w.row_sum + r, rows,
                                            acc + t * ld_acc + (r - row_begin), ld_acc);
    }
  }
}

}  // namespace

const KernelTable kAvx512Vnni = {
    .isa = "avx512vnni",
    .quantize_tokens = quantize_tokens,
    .ternary_gemm = ternary_gemm,
    .int8_gemm = int8_gemm,
    .rms_norm = rms_norm,
    .dot = dot,
    .dot_rows = dot_rows,
    .axpy = axpy,
    .axpy_rows = axpy_rows,
    .scale_sums = scale_sums,
    .rotate_half = rotate_half,
    .exp_sum = exp_sum,
    .swiglu = swiglu,
    .squared_relu_glu = squared_relu_glu,
};

}  // namespace tristill::kernels
#endif
