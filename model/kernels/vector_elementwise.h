// Norms, quantisation, activations and rotations in vectors of 16 lanes. Included by an ISA file
// after its lanes_*.h.
#pragma once

#include "model/kernels/kernels.h"

namespace tristill::kernels {
namespace {

// n elements from i, or all that are left.
inline size_t left(size_t n, size_t i) { return n - i < 16 ? n - i : 16; }

inline F32 exponential(F32 t) {
  const F32 capped = min(t, splat(88.0F));
  const F32 round = splat(12582912.0F);  // 1.5 * 2^23
  const F32 n = sub(fma(capped, splat(1.44269504088896341F), round), round);
  F32 r = fma(n, splat(-0.693359375F), capped);
  r = fma(n, splat(2.12194440e-4F), r);
  F32 p = splat(1.9875691500e-4F);
  p = fma(p, r, splat(1.3981999507e-3F));
  p = fma(p, r, splat(8.3334519073e-3F));
  p = fma(p, r, splat(4.1665795894e-2F));
  p = fma(p, r, splat(1.6666665459e-1F));
  p = fma(p, r, splat(5.0000001201e-1F));
  p = add(fma(p, mul(r, r), r), splat(1.0F));
  return zero_below(mul(p, power_of_two(n)), t, -87.0F);
}

inline F32 silu(F32 g) { return div(g, add(splat(1.0F), exponential(sub(zero(), g)))); }
inline F32 squared_relu(F32 g) {
  const F32 positive = max(g, zero());
  return mul(positive, positive);
}

float dot(const float* a, const float* b, size_t n) {
  F32 total = zero();
  size_t i = 0;
  for (; i + 16 <= n; i += 16) total = fma(load(a + i), load(b + i), total);
  if (i < n) total = fma(load(a + i, n - i), load(b + i, n - i), total, n - i);
  return sum(total);
}

// 1 / sqrt(mean of squares + eps) of kRows rows, ld_x apart: their chains of additions do not wait
// for each other.
template <size_t kRows>
inline void inverse_norms(const float* x, size_t ld_x, float eps, size_t cols, float* inverse) {
  F32 total[kRows];
  for (F32& t : total) t = zero();
  size_t c = 0;
  for (; c + 16 <= cols; c += 16) {
    for (size_t r = 0; r < kRows; ++r) {
      const F32 v = load(x + r * ld_x + c);
      total[r] = fma(v, v, total[r]);
    }
  }
  for (size_t r = 0; r < kRows; ++r) {
    if (c < cols) {
      const F32 v = load(x + r * ld_x + c, cols - c);
      total[r] = fma(v, v, total[r], cols - c);
    }
    const float mean = sum(total[r]) / static_cast<float>(cols);
    inverse[r] = 1.0F / square_root(mean + eps);
  }
}

constexpr size_t kNormRows = 4;
// The same of up to kNormRows rows.
inline void inverse_norms(const float* x, size_t ld_x, float eps, size_t cols, size_t n_rows,
                          float* inverse) {
  switch (n_rows) {
    case 1: return inverse_norms<1>(x, ld_x, eps, cols, inverse);
    case 2: return inverse_norms<2>(x, ld_x, eps, cols, inverse);
    case 3: return inverse_norms<3>(x, ld_x, eps, cols, inverse);
    default: return inverse_norms<kNormRows>(x, ld_x, eps, cols, inverse);
  }
}

void rms_norm(const float* x, const float* gain, float eps, float* y, size_t rows, size_t cols) {
  float inverse[kNormRows];
  for (size_t r = 0; r < rows; ++r, x += cols, y += cols) {
    if (r % kNormRows == 0) {
      const size_t n_rows = rows - r < kNormRows ? rows - r : kNormRows;
      inverse_norms(x, cols, eps, cols, n_rows, inverse);
    }
    const F32 factor = splat(inverse[r % kNormRows]);
    for (size_t c = 0; c < cols; c += 16) {
      const size_t n = left(cols, c);
      store(y + c, mul(mul(load(x + c, n), factor), load(gain + c, n)), n);
    }
  }
}

void rotate_half(float* x, const float* cosine, const float* sine, size_t half) {
  for (size_t i = 0; i < half; i += 16) {
    const size_t n = left(half, i);
    const F32 a = load(x + i, n);
    const F32 b = load(x + half + i, n);
    const F32 c = load(cosine + i, n);
    const F32 s = load(sine + i, n);
    store(x + i, fma(a, c, sub(zero(), mul(b, s))), n);
    store(x + half + i, fma(b, c, mul(a, s)), n);
  }
}

float exp_sum(float* x, float most, size_t n) {
  const F32 greatest_x = splat(most);
  F32 total = zero();
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const F32 e = exponential(sub(load(x + i), greatest_x));
    store(x + i, e);
    total = add(total, e);
  }
  if (i < n) {
    const F32 e = exponential(sub(load(x + i, n - i), greatest_x));
    store(x + i, e, n - i);
    total = add(total, e, n - i);
  }
  return sum(total);
}

void swiglu(const float* gate, const float* up, float* out, size_t n) {
  for (size_t i = 0; i < n; i += 16) {
    const size_t k = left(n, i);
    store(out + i, mul(silu(load(gate + i, k)), load(up + i, k)), k);
  }
}

void squared_relu_glu(const float* gate, const float* up, float* out, size_t n) {
  for (size_t i = 0; i < n; i += 16) {
    const size_t k = left(n, i);
    store(out + i, mul(squared_relu(load(gate + i, k)), load(up + i, k)), k);
  }
}

inline float absmax(const float* x, size_t n) {
  F32 most[4] = {zero(), zero(), zero(), zero()};
  size_t i = 0;
  for (; i + 64 <= n; i += 64) {
    for (size_t k = 0; k < 4; ++k) most[k] = max(abs(load(x + i + 16 * k)), most[k]);
  }
  for (; i < n; i += 16) most[0] = max(abs(load(x + i, left(n, i))), most[0]);
  return greatest(max(max(most[0], most[1]), max(most[2], most[3])));
}

// x in units of the scale that absmax gives, as whole numbers: how a token is quantised.
struct Quantizer {
  float scale;
  F32 inverse;
  F32 limit;
  explicit Quantizer(float most, float most_q = 127.0F) : limit(splat(most_q)) {
    const float factor = most_q / most;
    const bool none = !(factor <= 3.402823466e+38F);  // infinite, or the token holds a NaN
    scale = none ? 0.0F : most / most_q;
    inverse = splat(none ? 0.0F : factor);
  }
  I32 operator()(F32 x) const {
    const F32 v = max(mul(x, inverse), sub(zero(), limit));
    return round_to_int(min(v, limit));
  }
};

float greatest_bound(const int32_t* sums, const SumBound& bound, const float* scale, size_t n) {
  F32 most = splat(-__builtin_inff());
  for (size_t i = 0; i < n; i += 16) {
    const size_t k = left(n, i);
    int32_t tail[16] = {};
    if (k < 16) std::memcpy(tail, sums + i, k * sizeof(int32_t));
    const F32 sum = to_float(load_int(k < 16 ? tail : sums + i));
    const F32 mean = fma(sum, splat(bound.factor), splat(bound.open));
    const F32 slack = fma(abs(mean), splat(1e-6F), splat(1.0F));
    const F32 value = mul(add(fma(load(bound.radius + i, k), splat(bound.norm), mean), slack),
                          load(scale + i, k));
    most = replace_first(most, max(value, most), k);
  }
  return greatest(most);
}

void quantize_tokens(const float* x, size_t tokens, size_t cols, float limit, int8_t* q,
                     float* scale, int32_t* sums) {
  for (size_t t = 0; t < tokens; ++t, x += cols, q += cols) {
    const Quantizer quantize(absmax(x, cols), limit);
    scale[t] = quantize.scale;
    I32 total = zero_int();
    for (size_t c = 0; c < cols; c += 16) {
      const size_t n = left(cols, c);
      const I32 v = quantize(load(x + c, n));
      total = add(total, v);
      if (n == 16) {
        store_bytes(q + c, v);
      } else {
        int8_t bytes[16];
        store_bytes(bytes, v);
        for (size_t i = 0; i < n; ++i) q[c + i] = bytes[i];
      }
    }
    sums[t] = sum(total);
  }
}

// 16 bytes of a tile of n_tokens at column c of a token.
inline void store_in_tile(int8_t* q, size_t c, size_t n_tokens, I32 v) {
  if (n_tokens == 1) return store_bytes(q + c, v);
  int8_t bytes[16];
  store_bytes(bytes, v);
  for (size_t k = 0; k < 4; ++k) std::memcpy(q + (c / 4 + k) * 4 * n_tokens, bytes + 4 * k, 4);
}

// q of token t of a tile of n_tokens; x has cols floats, q zeros from there to `padded`.
inline int32_t quantize_into_tile(const float* x, const Quantizer& quantize, size_t n_tokens,
                                  size_t cols, size_t padded, int8_t* q) {
  I32 total = zero_int();
  for (size_t c = 0; c < cols; c += 16) {
    const I32 v = quantize(load(x + c, left(cols, c)));
    total = add(total, v);
    store_in_tile(q, c, n_tokens, v);
  }
  for (size_t c = whole_vectors(cols); c < padded; c += 16) {
    store_in_tile(q, c, n_tokens, zero_int());
  }
  return sum(total);
}

void quantize_tile(const float* x, size_t ld_x, const float* gain, float eps, size_t n_tokens,
                   size_t cols, float limit, int8_t* q, float* scale, int32_t* sums,
                   float* scratch) {
  float inverse[kNormRows] = {};
  for (size_t t = 0; t < n_tokens; ++t, x += ld_x) {
    const float* row = x;
    if (gain != nullptr) {
      if (t % kNormRows == 0) {
        const size_t n_rows = n_tokens - t < kNormRows ? n_tokens - t : kNormRows;
        inverse_norms(x, ld_x, eps, cols, n_rows, inverse);
      }
      const F32 factor = splat(inverse[t % kNormRows]);
      for (size_t c = 0; c < cols; c += 16) {
        const size_t n = left(cols, c);
        store(scratch + c, mul(mul(load(x + c, n), factor), load(gain + c, n)), n);
      }
      row = scratch;
    }
    const Quantizer quantize(absmax(row, cols), limit);
    scale[t] = quantize.scale;
    sums[t] = quantize_into_tile(row, quantize, n_tokens, cols, padded_columns(cols), q + 4 * t);
  }
}

}  // namespace
}  // namespace tristill::kernels
