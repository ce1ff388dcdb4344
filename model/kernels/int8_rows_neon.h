// int8_gemm with NEON's dot product. Included by an ISA file after lanes_neon.h.
#pragma once

#include "model/kernels/kernels.h"

namespace tristill::kernels {
namespace {

template <int kTokens>
void int8_row(const int8_t* q, const int8_t* row, size_t cols, int32_t* acc, size_t ld_acc) {
  int32x4_t s[kTokens];
  for (auto& v : s) v = vdupq_n_s32(0);
  size_t c = 0;
  for (; c + 16 <= cols; c += 16) {
    const int8x16_t w = vld1q_s8(row + c);
#pragma GCC unroll 6
    for (size_t t = 0; t < kTokens; ++t) s[t] = vdotq_s32(s[t], w, vld1q_s8(q + t * cols + c));
  }
  for (size_t t = 0; t < kTokens; ++t) {
    int32_t total = vaddvq_s32(s[t]);
    for (size_t i = c; i < cols; ++i) total += q[t * cols + i] * row[i];
    acc[t * ld_acc] = total;
  }
}

void int8_gemm(const int8_t* q, size_t tokens, const Int8View& w, size_t row_begin, size_t row_end,
               int32_t* acc, size_t ld_acc) {
  using Run = void (*)(const int8_t*, const int8_t*, size_t, int32_t*, size_t);
  constexpr Run kRun[] = {nullptr,     int8_row<1>, int8_row<2>, int8_row<3>,
                          int8_row<4>, int8_row<5>, int8_row<6>};
  for (size_t t = 0; t < tokens; t += kTileTokens) {
    const Run run = kRun[tokens - t < kTileTokens ? tokens - t : kTileTokens];
    for (size_t r = row_begin; r < row_end; ++r) {
      run(q + t * w.cols, w.weights + r * w.cols, w.cols, acc + t * ld_acc + (r - row_begin),
          ld_acc);
    }
  }
}

}  // namespace
}  // namespace tristill::kernels
