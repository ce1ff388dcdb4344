// Attention over a paged cache in vectors of 16 lanes: scores have one lane a position, outputs
// one lane a dimension, so every sum is one chain in the order of kernels.h.
// Included by an ISA file after its lanes_*.h.
#pragma once

#include "model/kernels/kernels.h"
#include "model/kernels/vector_kv.h"

namespace tristill::kernels {
namespace {

// Blocks lie far apart: what will be read next is fetched while this is worked on. Beyond the end
// the last block is fetched again.
inline const uint8_t* block_ahead(const KvHead& kv, size_t position, size_t end) {
  return block_of(kv, position < end ? position : end - 1);
}
constexpr size_t kBlocksAhead = 4;  // of values

// A query as the int8 keys meet it.
struct QuantizedQuery {
  const int8_t* q = nullptr;
  float scale = 0.0F;
  int32_t offset = 0;  // what the unsigned side of the product adds too much
};

// Queries and where their scores go.
struct ScoreRows {
  const float* const* q;
  const QuantizedQuery* quantized;
  float* const* to;
};

template <int kQueries, int kBlocks>
void score_halves(const KvHead& kv, size_t position, size_t end, const ScoreRows& rows) {
  const uint16_t* keys[kBlocks];
  const uint8_t* next[kBlocks];
  for (int b = 0; b < kBlocks; ++b) {
    const auto at = position + static_cast<size_t>(b) * kKvPositions;
    keys[b] = reinterpret_cast<const uint16_t*>(block_of(kv, at));
    next[b] = block_ahead(kv, at + kBlocks * kKvPositions, end);
  }
  F32 s[kQueries][kBlocks];
#pragma GCC unroll 12
  for (int i = 0; i < kQueries * kBlocks; ++i) s[i / kBlocks][i % kBlocks] = zero();
  for (size_t d = 0; d < kv.head_dim; ++d) {
    F32 k[kBlocks];
#pragma GCC unroll 12
    for (int b = 0; b < kBlocks; ++b) {
      k[b] = load_half(keys[b] + d * kKvPositions);
      prefetch(next[b] + d * kKvPositions * sizeof(uint16_t));
    }
#pragma GCC unroll 6
    for (int i = 0; i < kQueries; ++i) {
      const F32 q = splat(rows.q[i][d]);
#pragma GCC unroll 12
      for (int b = 0; b < kBlocks; ++b) s[i][b] = fma(q, k[b], s[i][b]);
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < kQueries * kBlocks; ++i) {
    store(rows.to[i / kBlocks] + position + i % kBlocks * kKvPositions,
          s[i / kBlocks][i % kBlocks]);
  }
}

template <int kQueries, int kBlocks>
void score_int8(const KvHead& kv, size_t position, size_t end, const ScoreRows& rows) {
  I32 s[kQueries][kBlocks];
#pragma GCC unroll 12
  for (int i = 0; i < kQueries * kBlocks; ++i) s[i / kBlocks][i % kBlocks] = zero_int();
  const uint8_t* keys[kBlocks];
  const uint8_t* next[kBlocks];
  for (int b = 0; b < kBlocks; ++b) {
    const size_t at = position + static_cast<size_t>(b) * kKvPositions;
    keys[b] = block_of(kv, at);
    next[b] = block_ahead(kv, at + kBlocks * kKvPositions, end);
  }
  const size_t steps = (kv.head_dim + 3) / 4;
  for (size_t d = 0; d < steps; ++d) {
    Bytes k[kBlocks];
#pragma GCC unroll 12
    for (int b = 0; b < kBlocks; ++b) {
      k[b] = int8_side(load_bytes(keys[b] + d * 64));
      prefetch(next[b] + d * 64);
    }
#pragma GCC unroll 6
    for (int i = 0; i < kQueries; ++i) {
      const auto x = splat_bytes(rows.quantized[i].q + 4 * d);
#pragma GCC unroll 12
      for (int b = 0; b < kBlocks; ++b) dot_int8(s[i][b], k[b], x);
    }
  }
  for (int b = 0; b < kBlocks; ++b) {
    const size_t at = position + static_cast<size_t>(b) * kKvPositions;
    const F32 key_scale = load(KvBlock(kv, at).key_scale);
#pragma GCC unroll 6
    for (int i = 0; i < kQueries; ++i) {
      const QuantizedQuery& query = rows.quantized[i];
      const F32 exact = to_float(sub(s[i][b], splat_int(query.offset)));
      store(rows.to[i] + at, mul(exact, mul(splat(query.scale), key_scale)));
    }
  }
}

template <int kQueries>
void score_rows(const KvHead& kv, size_t positions, const ScoreRows& rows) {
  constexpr int kBlocks = kScoreVectors / kQueries;
  size_t p = 0;
  for (; p + kBlocks * kKvPositions <= positions; p += kBlocks * kKvPositions) {
    kv.format == KvFormat::fp16 ? score_halves<kQueries, kBlocks>(kv, p, positions, rows)
                                : score_int8<kQueries, kBlocks>(kv, p, positions, rows);
  }
  for (; p < positions; p += kKvPositions) {
    kv.format == KvFormat::fp16 ? score_halves<kQueries, 1>(kv, p, positions, rows)
                                : score_int8<kQueries, 1>(kv, p, positions, rows);
  }
}

// out[i][d .. d + 16 kWide] = sum_p w[i][p] v_p, p < positions.
template <int kQueries, int kWide>
void mix_values(const KvHead& kv, size_t positions, size_t d, const float* const* weights,
                F32 (&out)[kQueries][kWide]) {
  const size_t stride = whole_vectors(kv.head_dim);
  const size_t size = kv.format == KvFormat::fp16 ? 2 : 1;
  for (size_t from = 0; from < positions; from += kKvPositions) {
    const KvBlock block(kv, from);
    const size_t n = left(positions, from);
    const uint8_t* ahead = block_ahead(kv, from + kBlocksAhead * kKvPositions, positions) +
                           (block.values - block.keys) + d * size;
    for (size_t p = 0; p < n; ++p) {
      prefetch(ahead + p * stride * size);
      if (size_t{kWide} * 16 * size > 64) prefetch(ahead + p * stride * size + 64);
      F32 v[kWide];
#pragma GCC unroll 4
      for (int c = 0; c < kWide; ++c) {
        const size_t at = p * stride + d + static_cast<size_t>(c) * 16;
        v[c] = kv.format == KvFormat::fp16
                   ? load_half(reinterpret_cast<const uint16_t*>(block.values) + at)
                   : load_int8(reinterpret_cast<const int8_t*>(block.values) + at);
      }
#pragma GCC unroll 6
      for (int i = 0; i < kQueries; ++i) {
        const F32 w = splat(weights[i][from + p]);
#pragma GCC unroll 4
        for (int c = 0; c < kWide; ++c) out[i][c] = fma(w, v[c], out[i][c]);
      }
    }
  }
}

template <int kQueries, int kWide>
void mix_part(const KvHead& kv, size_t positions, size_t d, const float* const* weights,
              const float* inverse, float* const* to) {
  F32 out[kQueries][kWide];
#pragma GCC unroll 24
  for (int i = 0; i < kQueries * kWide; ++i) out[i / kWide][i % kWide] = zero();
  mix_values<kQueries, kWide>(kv, positions, d, weights, out);
#pragma GCC unroll 24
  for (int i = 0; i < kQueries * kWide; ++i) {
    const size_t at = d + static_cast<size_t>(i % kWide) * 16;
    store(to[i / kWide] + at, mul(out[i / kWide][i % kWide], splat(inverse[i / kWide])),
          left(kv.head_dim, at));
  }
}

template <int kQueries>
void mix_rows(const KvHead& kv, size_t positions, const float* const* weights, const float* inverse,
              float* const* to) {
  constexpr int kWide = kValueVectors / kQueries < 4 ? kValueVectors / kQueries : 4;
  const size_t width = whole_vectors(kv.head_dim);
  size_t d = 0;
  for (; d + size_t{16} * kWide <= width; d += size_t{16} * kWide) {
    mix_part<kQueries, kWide>(kv, positions, d, weights, inverse, to);
  }
  for (; d < width; d += 16) mix_part<kQueries, 1>(kv, positions, d, weights, inverse, to);
}

inline void soft_cap(float* scores, float cap, size_t n) {
  const F32 twice = splat(2.0F * cap);
  for (size_t p = 0; p < n; p += 16) {
    const size_t k = left(n, p);
    const F32 e = exponential(mul(load(scores + p, k), splat(2.0F / cap)));
    store(scores + p, sub(splat(cap), div(twice, add(splat(1.0F), e))), k);
  }
}

// Scores of one query -> weights, zeros before `first` and from its length to `positions`; returns
// 1 / their sum.
inline float soften(const KvHead& kv, float* scores, size_t first, size_t length,
                    size_t positions) {
  for (size_t p = 0; p < first; ++p) scores[p] = -__builtin_inff();
  F32 most = splat(-3.402823466e+38F);
  size_t p = 0;
  for (; p + 16 <= length; p += 16) most = max(load(scores + p), most);
  float greatest_score = greatest(most);
  for (; p < length; ++p) greatest_score = scores[p] > greatest_score ? scores[p] : greatest_score;
  const float total = exp_sum(scores, greatest_score, length);
  for (p = length; p < positions; ++p) scores[p] = 0.0F;
  if (kv.format == KvFormat::int8) {
    for (p = 0; p < length; p += 16) {
      const F32 scale = load(KvBlock(kv, p).value_scale);
      const size_t n = left(length, p);
      store(scores + p, mul(load(scores + p, n), scale), n);
    }
  }
  return 1.0F / total;
}

template <int kQueries>
void attend_to(const AttentionCall& call, size_t first) {
  const size_t dim = call.kv.head_dim;
  const uint32_t* const length = call.length + first;
  // Blocks that no query sees are as if they were not there.
  const size_t hidden = first_seen(length[0], call.window) / kKvPositions;
  const size_t begin = hidden * kKvPositions;
  KvHead kv = call.kv;
  kv.blocks += hidden;
  const size_t last = length[kQueries - 1] - begin;
  const size_t rounded = (last + 15) / 16 * 16;
  const auto* q = call.q + first;
  float* scores[kQueries];
  float inverse[kQueries];
  QuantizedQuery quantized[kQueries];
  auto* bytes = reinterpret_cast<int8_t*>(call.scores + kQueries * rounded);
  const size_t padded = whole_vectors(dim);
  for (int i = 0; i < kQueries; ++i) {
    scores[i] = call.scores + static_cast<size_t>(i) * rounded;
    if (kv.format == KvFormat::int8) {
      int8_t* to = bytes + static_cast<size_t>(i) * padded;
      const Quantizer quantize(absmax(q[i], dim));
      const int32_t sum_q = quantize_into_tile(q[i], quantize, 1, dim, padded, to);
      quantized[i] = {to, quantize.scale, kInt8Offset * sum_q};
    }
  }
  score_rows<kQueries>(kv, rounded, {q, quantized, scores});
  for (int i = 0; i < kQueries; ++i) {
    if (call.softcap > 0.0F) soft_cap(scores[i], call.softcap, length[i] - begin);
    inverse[i] = soften(kv, scores[i], first_seen(length[i], call.window) - begin,
                        length[i] - begin, rounded);
  }
  mix_rows<kQueries>(kv, last, scores, inverse, call.out + first);
}

template <int kQueries>
void attend_rest(const AttentionCall& call, size_t first) {
  if (call.n_queries - first == kQueries) return attend_to<kQueries>(call, first);
  if constexpr (kQueries > 1) attend_rest<kQueries - 1>(call, first);
}

void attend(const AttentionCall& call) {
  size_t first = 0;
  for (; first + kAttentionQueries <= call.n_queries; first += kAttentionQueries) {
    attend_to<kAttentionQueries>(call, first);
  }
  if (first < call.n_queries) attend_rest<kAttentionQueries - 1>(call, first);
}

}  // namespace
}  // namespace tristill::kernels
