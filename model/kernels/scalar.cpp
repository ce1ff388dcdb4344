// The specification of every kernel, in portable C++. Limit: none aimed at.
#include <cmath>
#include <cstring>

#include "model/kernels/kernels.h"
#include "model/reduce.h"

namespace tristill::kernels {
namespace {

constexpr float kExpMin = -87.0F;
constexpr float kExpMax = 88.0F;

// e^t for t in [kExpMin, kExpMax] (clamped above), 0 below: Cephes expf. Two units in the last
// place; the same bits on every machine, because only +, -, * and bit shifts occur.
float exp_value(float t) {
  if (!(t >= kExpMin)) return 0.0F;
  t = t < kExpMax ? t : kExpMax;
  constexpr float kRoundToInteger = 12582912.0F;  // 1.5 * 2^23
  const float n = (t * 1.44269504088896341F + kRoundToInteger) - kRoundToInteger;
  float r = t - n * 0.693359375F;
  r = r - n * -2.12194440e-4F;
  float p = 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = (p * (r * r) + r) + 1.0F;
  const uint32_t bits = static_cast<uint32_t>(static_cast<int32_t>(n) + 127) << 23;
  float power = 0.0F;
  std::memcpy(&power, &bits, sizeof power);
  return p * power;
}

void quantize_tokens(const float* x, size_t tokens, size_t cols, int8_t* q, float* scale,
                     int32_t* sum) {
  for (size_t t = 0; t < tokens; ++t, x += cols, q += cols) {
    float absmax = 0.0F;
    for (size_t c = 0; c < cols; ++c) {
      const float a = std::fabs(x[c]);
      absmax = a > absmax ? a : absmax;
    }
    const float inverse = 127.0F / absmax;
    sum[t] = 0;
    scale[t] = 0.0F;
    if (std::isinf(inverse)) {
      std::memset(q, 0, cols);
      continue;
    }
    scale[t] = absmax / 127.0F;
    for (size_t c = 0; c < cols; ++c) {
      float v = x[c] * inverse;
      v = v > -127.0F ? v : -127.0F;
      v = v < 127.0F ? v : 127.0F;
      q[c] = static_cast<int8_t>(std::nearbyint(v));
      sum[t] += q[c];
    }
  }
}

// The weight at column c of a packed row: byte j of half h holds h*128 + {j, j+32, j+64, j+96}.
int ternary_at(const uint8_t* row, size_t c) {
  const size_t half = c / 128;
  const size_t within = c % 128;
  return ((row[half * 32 + within % 32] >> (2 * (within / 32))) & 3) - 1;
}

void ternary_gemm(const int8_t* q, const int32_t* /*sum*/, size_t tokens, const TernaryView& w,
                  size_t row_begin, size_t row_end, int32_t* acc, size_t ld_acc) {
  for (size_t t = 0; t < tokens; ++t) {
    for (size_t r = row_begin; r < row_end; ++r) {
      const uint8_t* row = w.packed + r * (w.cols / 4);
      int32_t total = 0;
      for (size_t c = 0; c < w.cols; ++c) total += q[t * w.cols + c] * ternary_at(row, c);
      acc[t * ld_acc + (r - row_begin)] = total;
    }
  }
}

void int8_gemm(const int8_t* q, size_t tokens, const Int8View& w, size_t row_begin, size_t row_end,
               int32_t* acc, size_t ld_acc) {
  for (size_t t = 0; t < tokens; ++t) {
    for (size_t r = row_begin; r < row_end; ++r) {
      const int8_t* row = w.weights + r * w.cols;
      int32_t total = 0;
      for (size_t c = 0; c < w.cols; ++c) total += q[t * w.cols + c] * row[c];
      acc[t * ld_acc + (r - row_begin)] = total;
    }
  }
}

float dot(const float* a, const float* b, size_t n) {
  return sum_in_order(n, [&](size_t i) { return a[i] * b[i]; });
}

void dot_rows(const float* a, const float* b, size_t ld_b, size_t rows, size_t n, float* out) {
  for (size_t r = 0; r < rows; ++r) out[r] = dot(a, b + r * ld_b, n);
}

void rms_norm(const float* x, const float* gain, float eps, float* y, size_t rows, size_t cols) {
  for (size_t r = 0; r < rows; ++r, x += cols, y += cols) {
    const float mean = dot(x, x, cols) / static_cast<float>(cols);
    const float inverse = 1.0F / std::sqrt(mean + eps);
    for (size_t c = 0; c < cols; ++c) y[c] = (x[c] * inverse) * gain[c];
  }
}

void axpy(float a, const float* x, float* y, size_t n) {
  for (size_t i = 0; i < n; ++i) y[i] = y[i] + a * x[i];
}

void axpy_rows(const float* a, const float* x, size_t ld_x, size_t rows, float* y, size_t n) {
  for (size_t r = 0; r < rows; ++r) axpy(a[r], x + r * ld_x, y, n);
}

void scale_sums(const int32_t* acc, const float* scale, size_t step, float s, float* y, size_t n) {
  for (size_t i = 0; i < n; ++i) y[i] = static_cast<float>(acc[i]) * (scale[i * step] * s);
}

void rotate_half(float* x, const float* cosine, const float* sine, size_t half) {
  for (size_t i = 0; i < half; ++i) {
    const float a = x[i];
    const float b = x[i + half];
    x[i] = a * cosine[i] - b * sine[i];
    x[i + half] = b * cosine[i] + a * sine[i];
  }
}

float exp_sum(float* x, float max, size_t n) {
  return sum_in_order(n, [&](size_t i) { return x[i] = exp_value(x[i] - max); });
}

void swiglu(const float* gate, const float* up, float* out, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    const float g = gate[i];
    out[i] = (g / (1.0F + exp_value(0.0F - g))) * up[i];
  }
}

void squared_relu_glu(const float* gate, const float* up, float* out, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    const float positive = gate[i] > 0.0F ? gate[i] : 0.0F;
    out[i] = (positive * positive) * up[i];
  }
}

}  // namespace

const KernelTable kScalar = {
    .isa = "scalar",
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
