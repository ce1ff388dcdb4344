// Linear layers on panels of weights in vectors of 16 lanes: one lane a row, so that no sum runs
// across lanes. A register tile is kTileHalves halves of a panel times the tokens of a tile; the
// weights of a step are unpacked in registers while the products of the step before run.
// Included by an ISA file after its lanes_*.h and vector_elementwise.h.
#pragma once

#include "model/kernels/kernels.h"
#if defined(__ARM_FEATURE_MATMUL_INT8)
#include "model/kernels/matrix_neon.h"
#endif
#include "model/kernels/vector_elementwise.h"
#include "model/kernels/vector_steps.h"

namespace tristill::kernels {
namespace {

inline void prefetch_step(const uint8_t* w) {
  prefetch(w + kPrefetchBytes);
  if (kTileHalves == 2) prefetch(w + kPrefetchBytes + 64);
}

template <class Step, int kTokens, int k = 0>
inline void multiply_planes(const Step* step, const int8_t* q,
                            Narrow (&part)[kTileHalves][kTokens]) {
  Bytes w[kTileHalves];
#pragma GCC unroll 2
  for (int h = 0; h < kTileHalves; ++h) w[h] = step[h].template plane<k>();
#pragma GCC unroll 12
  for (int t = 0; t < kTokens; ++t) {
    const auto x = splat_bytes(q + (k * kTokens + t) * 4);
#pragma GCC unroll 2
    for (int h = 0; h < kTileHalves; ++h) dot_codes(part[h][t], w[h], x);
  }
  if constexpr (k + 1 < Step::kPlanes) multiply_planes<Step, kTokens, k + 1>(step, q, part);
}

template <class Step, int kTokens>
inline Sums<kTokens> unpacked_sums(const uint8_t* w, const int8_t* q, size_t steps) {
  constexpr size_t kWidenAfter = kNarrowLimit / Step::kMostPerStep;
  Sums<kTokens> total;
  for (int i = 0; i < kTileHalves * kTokens; ++i) total.of[i / kTokens][i % kTokens] = zero_int();
  for (size_t done = 0; done < steps;) {
    const size_t now = steps - done < kWidenAfter ? steps - done : kWidenAfter;
    Narrow part[kTileHalves][kTokens];
#pragma GCC unroll 24
    for (int i = 0; i < kTileHalves * kTokens; ++i) part[i / kTokens][i % kTokens] = zero_narrow();
    for (size_t s = 0; s < now; ++s) {
      if (kTokens <= 4) prefetch_step(w);
      const Step step[] = {Step(w), Step(w + (kTileHalves - 1) * 64)};
      multiply_planes<Step, kTokens>(step, q, part);
      w += kStepBytes;
      q += 4 * Step::kPlanes * kTokens;
    }
    done += now;
#pragma GCC unroll 24
    for (int i = 0; i < kTileHalves * kTokens; ++i) {
      I32& sum = total.of[i / kTokens][i % kTokens];
      sum = add(sum, widen(part[i / kTokens][i % kTokens]));
    }
  }
  return total;
}

template <class Step, int kTokens, int k = 0>
inline void multiply_in_place(const Step* step, const int8_t* q,
                              Narrow (&part)[Step::kPlanes][kTileHalves][kTokens]) {
  Bytes w[kTileHalves];
#pragma GCC unroll 2
  for (int h = 0; h < kTileHalves; ++h) w[h] = step[h].template plane_in_place<k>();
#pragma GCC unroll 3
  for (int t = 0; t < kTokens; ++t) {
    const auto x = splat_bytes(q + (k * kTokens + t) * 4);
#pragma GCC unroll 2
    for (int h = 0; h < kTileHalves; ++h) dot_codes(part[k][h][t], w[h], x);
  }
  if constexpr (k + 1 < Step::kPlanes) multiply_in_place<Step, kTokens, k + 1>(step, q, part);
}

template <class Step, int kTokens, int k = 0>
inline I32 add_unscaled(const Narrow (&part)[Step::kPlanes][kTileHalves][kTokens], int h, int t) {
  const I32 here = Step::template unscaled<k>(widen(part[k][h][t]));
  if constexpr (k + 1 < Step::kPlanes) {
    return add(here, add_unscaled<Step, kTokens, k + 1>(part, h, t));
  }
  return here;
}

// For few tokens: plane k keeps its factor, its sums are divided once at the end. Saves a shift a
// plane, and a chain of sums for each plane hides the latency.
template <class Step, int kTokens>
inline Sums<kTokens> sums_in_place(const uint8_t* w, const int8_t* q, size_t steps) {
  constexpr int kChains = Step::kPlanes * kTileHalves * kTokens;
  Narrow part[Step::kPlanes][kTileHalves][kTokens];
#pragma GCC unroll 30
  for (int i = 0; i < kChains; ++i) {
    part[i / (kTileHalves * kTokens)][i / kTokens % kTileHalves][i % kTokens] = zero_narrow();
  }
  for (size_t s = 0; s < steps; ++s) {
    prefetch_step(w);
    const Step step[] = {Step(w), Step(w + (kTileHalves - 1) * 64)};
    multiply_in_place<Step, kTokens>(step, q, part);
    w += kStepBytes;
    q += 4 * Step::kPlanes * kTokens;
  }
  Sums<kTokens> total;
#pragma GCC unroll 6
  for (int i = 0; i < kTileHalves * kTokens; ++i) {
    total.of[i / kTokens][i % kTokens] =
        add_unscaled<Step, kTokens>(part, i / kTokens, i % kTokens);
  }
  return total;
}

template <int kTokens>
inline Sums<kTokens> int8_sums(const uint8_t* w, const int8_t* q, size_t steps) {
#if defined(__ARM_FEATURE_MATMUL_INT8)
  if constexpr (kTokens > 1) return paired_int8_sums<kTokens>(w, q, steps);
#endif
  I32 sums[kTileHalves][kTokens];
#pragma GCC unroll 24
  for (int i = 0; i < kTileHalves * kTokens; ++i) sums[i / kTokens][i % kTokens] = zero_int();
  for (size_t s = 0; s < steps; ++s) {
    if (kTokens <= 4) prefetch_step(w);
    Bytes side[kTileHalves];
#pragma GCC unroll 2
    for (int h = 0; h < kTileHalves; ++h) side[h] = int8_side(load_bytes(w + 64 * h));
#pragma GCC unroll 12
    for (int t = 0; t < kTokens; ++t) {
      const auto x = splat_bytes(q + 4 * t);
#pragma GCC unroll 2
      for (int h = 0; h < kTileHalves; ++h) dot_int8(sums[h][t], side[h], x);
    }
    w += kStepBytes;
    q += 4 * kTokens;
  }
  Sums<kTokens> total;
#pragma GCC unroll 24
  for (int i = 0; i < kTileHalves * kTokens; ++i) {
    total.of[i / kTokens][i % kTokens] = sums[i / kTokens][i % kTokens];
  }
  return total;
}

template <int kTokens, int k = 0>
inline void multiply_slices(const SlicedStep* step, const int8_t* q, Sums<kTokens>& sums) {
  Bytes w[kTileHalves];
#pragma GCC unroll 2
  for (int h = 0; h < kTileHalves; ++h) w[h] = step[h].template plane<k>();
#pragma GCC unroll 12
  for (int t = 0; t < kTokens; ++t) {
    const auto x = splat_bytes(q + (k * kTokens + t) * 4);
#pragma GCC unroll 2
    for (int h = 0; h < kTileHalves; ++h) dot_int8(sums.of[h][t], w[h], x);
  }
  if constexpr (k + 1 < SlicedStep::kPlanes) multiply_slices<kTokens, k + 1>(step, q, sums);
}

// A panel of a matrix in slices: where each of the three begins.
struct SlicedPanel {
  const uint8_t *high, *middle, *low;
};

template <int kTokens>
inline Sums<kTokens> sliced_sums(SlicedPanel w, const int8_t* q, size_t steps) {
#if defined(__ARM_FEATURE_MATMUL_INT8)
  if constexpr (kTokens > 1) return paired_sliced_sums<kTokens>(w.high, w.middle, w.low, q, steps);
#endif
  Sums<kTokens> total;
#pragma GCC unroll 24
  for (int i = 0; i < kTileHalves * kTokens; ++i) total.of[i / kTokens][i % kTokens] = zero_int();
  for (size_t s = 0; s < steps; ++s) {
    if (kTokens <= 4) {
      prefetch_step(w.high);
      prefetch_step(w.high + kStepBytes);
      prefetch_step(w.middle);
      prefetch_step(w.low);
    }
    constexpr size_t kOther = (kTileHalves - 1) * 64;
    const SlicedStep step[] = {{w.high, w.middle, w.low},
                               {w.high + kOther, w.middle + kOther, w.low + kOther}};
    multiply_slices<kTokens>(step, q, total);
    w = {w.high + 2 * kStepBytes, w.middle + kStepBytes, w.low + kStepBytes};
    q += 4 * SlicedStep::kPlanes * kTokens;
  }
  return total;
}

// y of 16 rows and one token.
inline F32 scaled(const LinearCall& call, size_t half, size_t t, I32 sums) {
  const F32 token = splat(call.x.scale[t]);
  const F32 row =
      scaled_by_row(call.kind) ? load(call.scale + half * kHalfRows) : splat(call.scale[half]);
  const F32 y = mul(to_float(sums), mul(row, token));
  return call.bias == nullptr ? y : add(y, load(call.bias + half * kHalfRows));
}

// Corrected sums [2][kTokens][16] of a whole panel -> out.
template <int kTokens>
void finish_panel(const LinearCall& call, size_t panel, const int32_t* sums) {
  const bool glu = call.finish == Finish::swiglu || call.finish == Finish::squared_relu_glu;
  for (size_t t = 0; t < kTokens; ++t) {
    const I32 even = load_int(sums + t * kHalfRows);
    const I32 odd = load_int(sums + (kTokens + t) * kHalfRows);
    const size_t at = t * call.ld_out + (panel - call.panel_begin) * (glu ? kHalfRows : kPanelRows);
    if (call.finish == Finish::sums) {
      int32_t* out = static_cast<int32_t*>(call.out) + at;
      store_int(out, even);
      store_int(out + kHalfRows, odd);
      continue;
    }
    float* out = static_cast<float*>(call.out) + at;
    const F32 first = scaled(call, 2 * panel, t, even);
    const F32 second = scaled(call, 2 * panel + 1, t, odd);
    switch (call.finish) {
      case Finish::add:
        store(out, add(load(out), first));
        store(out + kHalfRows, add(load(out + kHalfRows), second));
        break;
      case Finish::swiglu: store(out, mul(silu(first), second)); break;
      case Finish::squared_relu_glu: store(out, mul(squared_relu(first), second)); break;
      default: store(out, first); store(out + kHalfRows, second);
    }
  }
}

template <class Step, int kTokens>
inline Sums<kTokens> step_sums(const uint8_t* w, const int8_t* q, size_t steps) {
#if defined(__ARM_FEATURE_MATMUL_INT8)
  if constexpr (kTokens > 1) return paired_sums<Step, kTokens>(w, q, steps);
#endif
  if constexpr (Step::kInPlace && kTokens <= kUnshiftedTokens) {
    return sums_in_place<Step, kTokens>(w, q, steps);
  } else {
    return unpacked_sums<Step, kTokens>(w, q, steps);
  }
}

// Of kTileHalves halves, from half on.
template <int kTokens>
inline Sums<kTokens> panel_sums(const LinearCall& call, size_t panel, size_t half, size_t steps) {
  const size_t at = panel * steps * kStepBytes + 64 * half;
  const int8_t* q = call.x.q;
  if (call.kind == PanelKind::sliced) {
    const uint8_t* high = call.panels + 2 * panel * steps * kStepBytes + 64 * half;
    return sliced_sums<kTokens>({high, call.middle + at, call.low + at}, q, steps);
  }
  const uint8_t* w = call.panels + at;
  switch (call.kind) {
    case PanelKind::ternary: return step_sums<TernaryStep, kTokens>(w, q, steps);
    case PanelKind::dense: return step_sums<DenseStep, kTokens>(w, q, steps);
    case PanelKind::int4: return step_sums<Int4Step, kTokens>(w, q, steps);
    default: break;
  }
  return int8_sums<kTokens>(w, q, steps);
}

// How much greater than the weights their unsigned side is.
inline int32_t offset_of(PanelKind kind) {
  switch (kind) {
    case PanelKind::ternary: return TernaryStep::kOffset;
    case PanelKind::dense: return DenseStep::kOffset;
    case PanelKind::int4: return Int4Step::kOffset;
    default: break;
  }
  return kInt8Offset;
}

template <int kTokens>
void run_panels(const LinearCall& call) {
  const size_t steps = panel_steps(call.kind, call.cols);
  const int32_t offset = offset_of(call.kind);
  for (size_t p = call.panel_begin; p < call.panel_end; ++p) {
    alignas(64) int32_t sums[2 * kTokens * kHalfRows];
    for (size_t half = 0; half < 2; half += kTileHalves) {
      const auto tile = panel_sums<kTokens>(call, p, half, steps);
#pragma GCC unroll 24
      for (size_t i = 0; i < size_t{kTileHalves} * kTokens; ++i) {
        store_int(
            sums + (half * kTokens + i) * kHalfRows,
            sub(tile.of[i / kTokens][i % kTokens], splat_int(offset * call.x.sum[i % kTokens])));
      }
    }
    finish_panel<kTokens>(call, p, sums);
  }
}

template <int kTokens>
void run_linear(const LinearCall& call) {
  if (call.x.n_tokens == kTokens) return run_panels<kTokens>(call);
  if constexpr (kTokens > 1) run_linear<kTokens - 1>(call);
}

void linear(const LinearCall& call) { run_linear<kTileTokens>(call); }

}  // namespace
}  // namespace tristill::kernels
