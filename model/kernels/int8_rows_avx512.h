// int8_gemm with AVX-512 VNNI. Included by an ISA file after lanes_avx512.h.
//
// Plain rows meet vpdpbusd in two forms:
//   few tokens:  dot form. Rows of weights stream through registers once, lanes are summed at the
//                end of a row.
//   many tokens: panel form. 32 rows are transposed into [cols / 4][32 rows][4] on the stack and
//                meet tiles of 12 tokens, [cols / 4][12 tokens][4]: 24 accumulators, one a
//                (16 rows, token), no sum across lanes.
#pragma once

#include "model/kernels/kernels.h"

namespace tristill::kernels {
namespace {

constexpr size_t kInt8DotTokens = 20;  // up to here the dot form
constexpr size_t kRowTileTokens = 12;
constexpr size_t kBlockTokens = 240;  // tokens packed at once: 240 KiB, lives in L2
constexpr size_t kBlockCols = 1024;   // columns packed at once: the panel, 32 KiB, lives in L1

inline __mmask64 lanes64(size_t n) { return n >= 64 ? ~0ULL : (1ULL << n) - 1ULL; }

// The sums of four integer vectors.
inline __m128i sum_lanes4(__m512i a, __m512i b, __m512i c, __m512i d) {
  const __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
  const __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
  const __m512i s = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
  const __m256i h = _mm256_add_epi32(_mm512_castsi512_si256(s), _mm512_extracti64x4_epi64(s, 1));
  return _mm_add_epi32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
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

// Up to 12 tokens -> [ceil(cols / 4)][12][4], zeros beyond, and the sum of each token.
void pack_tokens(const int8_t* q, size_t ld, size_t tokens, size_t cols, int8_t* packed,
                 int32_t* sum) {
  const __m512i ones = _mm512_set1_epi8(1);
  __m512i total[kRowTileTokens];
  for (auto& t : total) t = _mm512_setzero_si512();
  for (size_t c = 0; c < cols; c += 64) {
    const __mmask64 m = lanes64(cols - c);
    __m512i v[16];
    for (size_t t = 0; t < 16; ++t) {
      v[t] = t < tokens ? _mm512_maskz_loadu_epi8(m, q + t * ld + c) : _mm512_setzero_si512();
      if (t < kRowTileTokens) total[t] = _mm512_dpbusd_epi32(total[t], ones, v[t]);
    }
    transpose16(v);
    const size_t dwords = cols - c >= 64 ? 16 : (cols - c + 3) / 4;
    for (size_t d = 0; d < dwords; ++d) {
      _mm512_mask_storeu_epi32(packed + (c / 4 + d) * kRowTileTokens * 4, 0x0FFF, v[d]);
    }
  }
  for (size_t t = 0; t < kRowTileTokens; ++t) sum[t] = _mm512_reduce_add_epi32(total[t]);
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
    q += kRowTileTokens * 4;
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
constexpr RunTile kRunTile[kRowTileTokens + 1] = {
    nullptr,     run_tile<1>, run_tile<2>, run_tile<3>,  run_tile<4>,  run_tile<5>, run_tile<6>,
    run_tile<7>, run_tile<8>, run_tile<9>, run_tile<10>, run_tile<11>, run_tile<12>};

void panel_gemm(const int8_t* q, size_t tokens, const Int8View& w, size_t row_begin, size_t row_end,
                int32_t* acc, size_t ld_acc) {
  alignas(64) uint8_t panel[kPanelRows * kBlockCols];
  alignas(64) int8_t packed[kBlockTokens * kBlockCols];
  int32_t sum[kBlockTokens];
  for (size_t col = 0; col < w.cols; col += kBlockCols) {
    const size_t cols = w.cols - col < kBlockCols ? w.cols - col : kBlockCols;
    const size_t steps = (cols + 3) / 4;
    for (size_t from = 0; from < tokens; from += kBlockTokens) {
      const size_t n = tokens - from < kBlockTokens ? tokens - from : kBlockTokens;
      for (size_t t = 0; t < n; t += kRowTileTokens) {
        pack_tokens(q + (from + t) * w.cols + col, w.cols,
                    n - t < kRowTileTokens ? n - t : kRowTileTokens, cols, packed + t * steps * 4,
                    sum + t);
      }
      for (size_t row = row_begin; row < row_end; row += kPanelRows) {
        const size_t rows = row_end - row < kPanelRows ? row_end - row : kPanelRows;
        pack_panel(w, row, rows, col, cols, panel);
        for (size_t t = 0; t < n; t += kRowTileTokens) {
          const Tile tile = {.panel = panel,
                             .tokens = packed + t * steps * 4,
                             .sum = sum + t,
                             .steps = steps,
                             .offset = kInt8Offset,
                             .low = first_lanes(rows),
                             .high = rows > 16 ? first_lanes(rows - 16) : __mmask16{0},
                             .first = col == 0,
                             .acc = acc + (from + t) * ld_acc + (row - row_begin),
                             .ld_acc = ld_acc};
          kRunTile[n - t < kRowTileTokens ? n - t : kRowTileTokens](tile);
        }
      }
    }
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

}  // namespace tristill::kernels
