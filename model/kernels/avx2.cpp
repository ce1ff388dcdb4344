// AVX2. Limit: one vpmaddubsw + vpmaddwd pair of 32 products a cycle for ternary weights; int8
// weights are widened to 16 bits (vpmaddwd, 16 products), because 255 * 127 * 2 saturates
// vpmaddubsw while ternary codes, at most 2 * 127 * 2 = 508, cannot.
#if defined(__x86_64__)
#include <immintrin.h>

#include "model/kernels/kernels.h"

namespace tristill::kernels {
namespace {

// 16 lanes of floats: lane l in low for l < 8.
struct Lanes {
  __m256 low, high;
};

constexpr size_t kTileTokens = 4;

// All ones in the first n of 8 lanes.
inline __m256i lanes8(size_t n) {
  const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n > 8 ? 8 : static_cast<int>(n)), index);
}

// 8 floats, zeros beyond n.
inline __m256 load(const float* x, size_t n) {
  return n >= 8 ? _mm256_loadu_ps(x) : _mm256_maskload_ps(x, lanes8(n));
}
inline void store(float* x, size_t n, __m256 v) {
  if (n >= 8) {
    _mm256_storeu_ps(x, v);
  } else {
    _mm256_maskstore_ps(x, lanes8(n), v);
  }
}

// The tree of kernels.h.
inline float sum_lanes(const Lanes& v) {
  const __m256 a = _mm256_add_ps(v.low, v.high);
  const __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}

// sum + v in the lanes that exist; the others keep their bits (a sum of -0 would not survive + 0).
inline __m256 add_existing(__m256 sum, __m256 v, size_t n) {
  return _mm256_blendv_ps(sum, _mm256_add_ps(sum, v), _mm256_castsi256_ps(lanes8(n)));
}

inline __m256 exp_lanes(__m256 t) {
  const __m256 live = _mm256_cmp_ps(t, _mm256_set1_ps(-87.0F), _CMP_GE_OQ);
  t = _mm256_and_ps(_mm256_min_ps(t, _mm256_set1_ps(88.0F)), live);
  const __m256 round = _mm256_set1_ps(12582912.0F);
  const __m256 n = _mm256_sub_ps(
      _mm256_add_ps(_mm256_mul_ps(t, _mm256_set1_ps(1.44269504088896341F)), round), round);
  __m256 r = _mm256_sub_ps(t, _mm256_mul_ps(n, _mm256_set1_ps(0.693359375F)));
  r = _mm256_sub_ps(r, _mm256_mul_ps(n, _mm256_set1_ps(-2.12194440e-4F)));
  __m256 p = _mm256_set1_ps(1.9875691500e-4F);
  p = _mm256_add_ps(_mm256_mul_ps(p, r), _mm256_set1_ps(1.3981999507e-3F));
  p = _mm256_add_ps(_mm256_mul_ps(p, r), _mm256_set1_ps(8.3334519073e-3F));
  p = _mm256_add_ps(_mm256_mul_ps(p, r), _mm256_set1_ps(4.1665795894e-2F));
  p = _mm256_add_ps(_mm256_mul_ps(p, r), _mm256_set1_ps(1.6666665459e-1F));
  p = _mm256_add_ps(_mm256_mul_ps(p, r), _mm256_set1_ps(5.0000001201e-1F));
  p = _mm256_add_ps(_mm256_add_ps(_mm256_mul_ps(p, _mm256_mul_ps(r, r)), r), _mm256_set1_ps(1.0F));
  const __m256i bits =
      _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvttps_epi32(n), _mm256_set1_epi32(127)), 23);
  return _mm256_and_ps(_mm256_mul_ps(p, _mm256_castsi256_ps(bits)), live);
}

float dot(const float* a, const float* b, size_t n) {
  Lanes sum = {_mm256_setzero_ps(), _mm256_setzero_ps()};
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    sum.low = _mm256_add_ps(sum.low, _mm256_mul_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i)));
    sum.high = _mm256_add_ps(sum.high,
                             _mm256_mul_ps(_mm256_loadu_ps(a + i + 8), _mm256_loadu_ps(b + i + 8)));
  }
  if (i < n) {
    const size_t rest = n - i;
    sum.low = add_existing(sum.low, _mm256_mul_ps(load(a + i, rest), load(b + i, rest)), rest);
    if (rest > 8) {
      const __m256 product = _mm256_mul_ps(load(a + i + 8, rest - 8), load(b + i + 8, rest - 8));
      sum.high = add_existing(sum.high, product, rest - 8);
    }
  }
  return sum_lanes(sum);
}

void dot_rows(const float* a, const float* b, size_t ld_b, size_t rows, size_t n, float* out) {
  for (size_t r = 0; r < rows; ++r) out[r] = dot(a, b + r * ld_b, n);
}

void rms_norm(const float* x, const float* gain, float eps, float* y, size_t rows, size_t cols) {
  for (size_t r = 0; r < rows; ++r, x += cols, y += cols) {
    const float mean = dot(x, x, cols) / static_cast<float>(cols);
    const float root = _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(mean + eps)));
    const __m256 inverse = _mm256_set1_ps(1.0F / root);
    for (size_t c = 0; c < cols; c += 8) {
      const __m256 v = _mm256_mul_ps(load(x + c, cols - c), inverse);
      store(y + c, cols - c, _mm256_mul_ps(v, load(gain + c, cols - c)));
    }
  }
}

void axpy(float a, const float* x, float* y, size_t n) {
  const __m256 factor = _mm256_set1_ps(a);
  for (size_t i = 0; i < n; i += 8) {
    const __m256 product = _mm256_mul_ps(factor, load(x + i, n - i));
    store(y + i, n - i, _mm256_add_ps(load(y + i, n - i), product));
  }
}

void axpy_rows(const float* a, const float* x, size_t ld_x, size_t rows, float* y, size_t n) {
  size_t i = 0;
  for (; i + 32 <= n; i += 32) {
    __m256 s[4];
    for (size_t j = 0; j < 4; ++j) s[j] = _mm256_loadu_ps(y + i + 8 * j);
    for (size_t r = 0; r < rows; ++r) {
      const __m256 factor = _mm256_set1_ps(a[r]);
      const float* row = x + r * ld_x + i;
      for (size_t j = 0; j < 4; ++j) {
        s[j] = _mm256_add_ps(s[j], _mm256_mul_ps(factor, _mm256_loadu_ps(row + 8 * j)));
      }
    }
    for (size_t j = 0; j < 4; ++j) _mm256_storeu_ps(y + i + 8 * j, s[j]);
  }
  if (i < n) {
    for (size_t r = 0; r < rows; ++r) axpy(a[r], x + r * ld_x + i, y + i, n - i);
  }
}

void scale_sums(const int32_t* acc, const float* scale, size_t step, float s, float* y, size_t n) {
  size_t i = 0;
  const __m256 token = _mm256_set1_ps(s);
  for (; i + 8 <= n; i += 8) {
    const __m256 row = step == 0 ? _mm256_set1_ps(scale[0]) : _mm256_loadu_ps(scale + i);
    const __m256 value =
        _mm256_cvtepi32_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(acc + i)));
    _mm256_storeu_ps(y + i, _mm256_mul_ps(value, _mm256_mul_ps(row, token)));
  }
  for (; i < n; ++i) y[i] = static_cast<float>(acc[i]) * (scale[i * step] * s);
}

void rotate_half(float* x, const float* cosine, const float* sine, size_t half) {
  for (size_t i = 0; i < half; i += 8) {
    const size_t n = half - i;
    const __m256 a = load(x + i, n);
    const __m256 b = load(x + half + i, n);
    const __m256 c = load(cosine + i, n);
    const __m256 s = load(sine + i, n);
    store(x + i, n, _mm256_sub_ps(_mm256_mul_ps(a, c), _mm256_mul_ps(b, s)));
    store(x + half + i, n, _mm256_add_ps(_mm256_mul_ps(b, c), _mm256_mul_ps(a, s)));
  }
}

float exp_sum(float* x, float max, size_t n) {
  const __m256 most = _mm256_set1_ps(max);
  Lanes sum = {_mm256_setzero_ps(), _mm256_setzero_ps()};
  for (size_t i = 0; i < n; i += 8) {
    const size_t rest = n - i;
    const __m256 e = exp_lanes(_mm256_sub_ps(load(x + i, rest), most));
    store(x + i, rest, e);
    __m256& half = i % 16 == 0 ? sum.low : sum.high;
    half = add_existing(half, e, rest);
  }
  return sum_lanes(sum);
}

void swiglu(const float* gate, const float* up, float* out, size_t n) {
  for (size_t i = 0; i < n; i += 8) {
    const __m256 g = load(gate + i, n - i);
    const __m256 e = exp_lanes(_mm256_sub_ps(_mm256_setzero_ps(), g));
    const __m256 silu = _mm256_div_ps(g, _mm256_add_ps(_mm256_set1_ps(1.0F), e));
    store(out + i, n - i, _mm256_mul_ps(silu, load(up + i, n - i)));
  }
}

void squared_relu_glu(const float* gate, const float* up, float* out, size_t n) {
  for (size_t i = 0; i < n; i += 8) {
    const __m256 g = _mm256_max_ps(load(gate + i, n - i), _mm256_setzero_ps());
    store(out + i, n - i, _mm256_mul_ps(_mm256_mul_ps(g, g), load(up + i, n - i)));
  }
}

inline int32_t sum_lanes(__m256i v) {
  const __m128i a = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  const __m128i b = _mm_add_epi32(a, _mm_shuffle_epi32(a, 0x4E));
  return _mm_cvtsi128_si32(_mm_add_epi32(b, _mm_shuffle_epi32(b, 0xB1)));
}

void quantize_token(const float* x, size_t cols, int8_t* q, float* scale, int32_t* sum) {
  const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7FFFFFFF));
  __m256 most = _mm256_setzero_ps();
  for (size_t c = 0; c < cols; c += 8) {
    most = _mm256_max_ps(_mm256_and_ps(load(x + c, cols - c), magnitude), most);
  }
  __m128 m = _mm_max_ps(_mm256_castps256_ps128(most), _mm256_extractf128_ps(most, 1));
  m = _mm_max_ps(m, _mm_movehl_ps(m, m));
  const float absmax = _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
  const float inverse = 127.0F / absmax;
  const bool zero = inverse > 3.402823466e+38F;
  *scale = zero ? 0.0F : absmax / 127.0F;
  const __m256 factor = _mm256_set1_ps(inverse);
  __m256i total = _mm256_setzero_si256();
  for (size_t c = 0; c < cols; c += 8) {
    const size_t n = cols - c;
    __m256 v = _mm256_mul_ps(load(x + c, n), factor);
    v = _mm256_max_ps(v, _mm256_set1_ps(-127.0F));
    v = _mm256_min_ps(v, _mm256_set1_ps(127.0F));
    const __m256i live = zero ? _mm256_setzero_si256() : lanes8(n);
    const __m256i rounded = _mm256_and_si256(_mm256_cvtps_epi32(v), live);
    total = _mm256_add_epi32(total, rounded);
    const __m128i words =
        _mm_packs_epi32(_mm256_castsi256_si128(rounded), _mm256_extracti128_si256(rounded, 1));
    const auto bytes = static_cast<uint64_t>(_mm_cvtsi128_si64(_mm_packs_epi16(words, words)));
    for (size_t i = 0; i < (n < 8 ? n : 8); ++i) q[c + i] = static_cast<int8_t>(bytes >> (8 * i));
  }
  *sum = sum_lanes(total);
}

void quantize_tokens(const float* x, size_t tokens, size_t cols, int8_t* q, float* scale,
                     int32_t* sum) {
  for (size_t t = 0; t < tokens; ++t) {
    quantize_token(x + t * cols, cols, q + t * cols, scale + t, sum + t);
  }
}

inline __m256i load32(const void* from) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(from));
}

// One row of ternary codes times kTokens tokens.
template <int kTokens>
void ternary_row(const int8_t* q, const int32_t* sum, const uint8_t* row, size_t cols, int32_t* acc,
                 size_t ld_acc) {
  const __m256i code = _mm256_set1_epi8(3);
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i s[kTokens];
  for (auto& v : s) v = _mm256_setzero_si256();
  for (size_t c = 0; c < cols; c += 128) {
    const __m256i packed = load32(row + c / 4);
    const __m256i c0 = _mm256_and_si256(packed, code);
    const __m256i c1 = _mm256_and_si256(_mm256_srli_epi16(packed, 2), code);
    const __m256i c2 = _mm256_and_si256(_mm256_srli_epi16(packed, 4), code);
    const __m256i c3 = _mm256_and_si256(_mm256_srli_epi16(packed, 6), code);
#pragma GCC unroll 4
    for (size_t t = 0; t < kTokens; ++t) {
      const int8_t* x = q + t * cols + c;
      // At most 4 * 2 * 2 * 127 = 2032 in 16 bits.
      const __m256i a = _mm256_add_epi16(_mm256_maddubs_epi16(c0, load32(x)),
                                         _mm256_maddubs_epi16(c1, load32(x + 32)));
      const __m256i b = _mm256_add_epi16(_mm256_maddubs_epi16(c2, load32(x + 64)),
                                         _mm256_maddubs_epi16(c3, load32(x + 96)));
      s[t] = _mm256_add_epi32(s[t], _mm256_madd_epi16(_mm256_add_epi16(a, b), ones));
    }
  }
  for (size_t t = 0; t < kTokens; ++t) acc[t * ld_acc] = sum_lanes(s[t]) - sum[t];
}

template <int kTokens>
void int8_row(const int8_t* q, const int8_t* row, size_t cols, int32_t* acc, size_t ld_acc) {
  __m256i s[kTokens];
  for (auto& v : s) v = _mm256_setzero_si256();
  size_t c = 0;
  for (; c + 16 <= cols; c += 16) {
    const __m256i w =
        _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(row + c)));
#pragma GCC unroll 4
    for (size_t t = 0; t < kTokens; ++t) {
      const auto* x = reinterpret_cast<const __m128i*>(q + t * cols + c);
      s[t] = _mm256_add_epi32(s[t], _mm256_madd_epi16(w, _mm256_cvtepi8_epi16(_mm_loadu_si128(x))));
    }
  }
  for (size_t t = 0; t < kTokens; ++t) {
    int32_t total = sum_lanes(s[t]);
    for (size_t i = c; i < cols; ++i) total += q[t * cols + i] * row[i];
    acc[t * ld_acc] = total;
  }
}

void ternary_gemm(const int8_t* q, const int32_t* sum, size_t tokens, const TernaryView& w,
                  size_t row_begin, size_t row_end, int32_t* acc, size_t ld_acc) {
  using Run = void (*)(const int8_t*, const int32_t*, const uint8_t*, size_t, int32_t*, size_t);
  constexpr Run kRun[] = {nullptr, ternary_row<1>, ternary_row<2>, ternary_row<3>, ternary_row<4>};
  for (size_t t = 0; t < tokens; t += kTileTokens) {
    const Run run = kRun[tokens - t < kTileTokens ? tokens - t : kTileTokens];
    for (size_t r = row_begin; r < row_end; ++r) {
      run(q + t * w.cols, sum + t, w.packed + r * (w.cols / 4), w.cols,
          acc + t * ld_acc + (r - row_begin), ld_acc);
    }
  }
}

void int8_gemm(const int8_t* q, size_t tokens, const Int8View& w, size_t row_begin, size_t row_end,
               int32_t* acc, size_t ld_acc) {
  using Run = void (*)(const int8_t*, const int8_t*, size_t, int32_t*, size_t);
  constexpr Run kRun[] = {nullptr, int8_row<1>, int8_row<2>, int8_row<3>, int8_row<4>};
  for (size_t t = 0; t < tokens; t += kTileTokens) {
    const Run run = kRun[tokens - t < kTileTokens ? tokens - t : kTileTokens];
    for (size_t r = row_begin; r < row_end; ++r) {
      run(q + t * w.cols, w.weights + r * w.cols, w.cols, acc + t * ld_acc + (r - row_begin),
          ld_acc);
    }
  }
}

}  // namespace

const KernelTable kAvx2 = {
    .isa = "avx2",
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
