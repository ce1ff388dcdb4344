// int8_gemm with AVX2: both sides are widened to 16 bits (vpmaddwd, 16 products), because
// 255 * 127 * 2 would saturate vpmaddubsw. Included by an ISA file after lanes_avx2.h.
#pragma once

#include "model/kernels/kernels.h"

namespace tristill::kernels {
namespace {

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
    int32_t total = sum(I32{s[t], _mm256_setzero_si256()});
    for (size_t i = c; i < cols; ++i) total += q[t * cols + i] * row[i];
    acc[t * ld_acc] = total;
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
}  // namespace tristill::kernels
