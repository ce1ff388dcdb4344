// The table of inner loops, one implementation an ISA; scalar.cpp is the specification and every
// other one equals it bit for bit, tails and extremes included. Pure functions, any thread.
// No library header is included by an ISA file: its flags must not leak into shared templates.
//
// Floating-point sums: 16 lanes, element i goes to lane i % 16, in index order; lanes are added
// as a tree: l + (l+8), l + (l+4), l + (l+2), l + (l+1). Products and sums are rounded separately
// (never fused). This order is model/reduce.h's, written here once more for the ISA files.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tristill::kernels {

// A ternary matrix as the kernels read it: rows of cols/4 bytes in the packing of model/ternary.h.
struct TernaryView {
  const uint8_t* packed;  // [rows, cols / 4]
  size_t rows;
  size_t cols;  // multiple of 256
};

struct Int8View {
  const int8_t* weights;   // [rows, cols]
  const int32_t* row_sum;  // [rows], sum of each row (unsigned x signed dot products need it)
  size_t rows;
  size_t cols;  // any
};

struct KernelTable {
  const char* isa;  // "scalar", "avx2", "avx512vnni"

  // x [tokens, cols] fp32 -> q [tokens, cols] int8, scale [tokens] = absmax / 127,
  // sum [tokens] = sum of the token's q. q = clip(round_half_even(x / scale), -127, 127), the
  // division being x * (127 / absmax) in fp32; a token of zeros, or of numbers so small that
  // 127 / absmax overflows (below 3.8e-37), has scale 0 and q 0.
  void (*quantize_tokens)(const float* x, size_t tokens, size_t cols, int8_t* q, float* scale,
                          int32_t* sum);

  // acc[t, r - row_begin] = sum_c q[t, c] * T[r, c] for rows row_begin .. row_end, exact.
  //   q [tokens, cols] int8, sum [tokens];  acc leading dimension ld_acc.
  void (*ternary_gemm)(const int8_t* q, const int32_t* sum, size_t tokens, const TernaryView& w,
                       size_t row_begin, size_t row_end, int32_t* acc, size_t ld_acc);

  // The same for int8 weights.
  void (*int8_gemm)(const int8_t* q, size_t tokens, const Int8View& w, size_t row_begin,
                    size_t row_end, int32_t* acc, size_t ld_acc);

  // y = x * gain / sqrt(mean(x^2) + eps), rows of cols; x and y may be the same memory.
  void (*rms_norm)(const float* x, const float* gain, float eps, float* y, size_t rows,
                   size_t cols);

  // sum_i a[i] * b[i] in the order above.
  float (*dot)(const float* a, const float* b, size_t n);

  // out[r] = dot(a, b + r * ld_b) for r < rows.
  void (*dot_rows)(const float* a, const float* b, size_t ld_b, size_t rows, size_t n, float* out);

  // y[i] = y[i] + a * x[i]
  void (*axpy)(float a, const float* x, float* y, size_t n);

  // axpy(a[r], x + r * ld_x, y, n) for r = 0 .. rows - 1, in this order.
  void (*axpy_rows)(const float* a, const float* x, size_t ld_x, size_t rows, float* y, size_t n);

  // y[i] = float(acc[i]) * (scale[i * step] * s); step is 0 (one scale a matrix) or 1 (one a row).
  void (*scale_sums)(const int32_t* acc, const float* scale, size_t step, float s, float* y,
                     size_t n);

  // Rotates the pairs (x[i], x[i + half]), i < half, by the angles with these cosines and sines.
  void (*rotate_half)(float* x, const float* cosine, const float* sine, size_t half);

  // x[i] = exp(x[i] - max) with the polynomial of scalar.cpp, 0 below e^-87; returns the sum in the
  // order above.
  float (*exp_sum)(float* x, float max, size_t n);

  // out[i] = act(gate[i]) * up[i]
  void (*swiglu)(const float* gate, const float* up, float* out, size_t n);
  void (*squared_relu_glu)(const float* gate, const float* up, float* out, size_t n);
};

extern const KernelTable kScalar;
#if defined(__x86_64__)
extern const KernelTable kAvx2;
extern const KernelTable kAvx512Vnni;
#endif

// The best table this CPU runs, or the one named by TRISTILL_ISA / force_isa.
const KernelTable& best();

// Forces a table by name ("scalar", "avx2", "avx512vnni", "auto"); false when unknown or not
// runnable here. Call before the first model is loaded.
bool force_isa(const char* name);

// Every table this CPU can run, scalar first; ends with nullptr.
const KernelTable* const* runnable();

}  // namespace tristill::kernels
