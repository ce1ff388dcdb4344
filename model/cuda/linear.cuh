// Linear layers on the GPU: exact sums of packed weights and int8 tokens. A block is one panel of
// 32 rows; its warps share the columns and add up in shared memory, which changes no integer sum.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "model/cuda/arithmetic.cuh"
#include "model/cuda/device_model.h"
#include "model/cuda/planes.cuh"

namespace tristill::cuda {

constexpr uint32_t kWarp = 32;
constexpr uint32_t kLinearWarps = 8;
constexpr uint32_t kFewTokens = 4;  // up to here dp4a, beyond the tensor cores
constexpr uint32_t kTileTokens = 32;  // of a block on the tensor cores
constexpr uint32_t kRows = kernels::kPanelRows;

// d += a b: 16 rows, 32 columns, 8 tokens of int8 on the tensor cores (PTX ISA, mma.m16n8k32).
// Lane l holds of a rows l / 4 and l / 4 + 8, of b token l / 4; columns 4 (l % 4) .. + 3 and the
// same + 16; of d those rows and tokens 2 (l % 4), + 1.
__device__ inline void multiply_tile(int32_t (&d)[4], const uint32_t (&a)[4],
                                     const uint32_t (&b)[2]) {
#if defined(TRISTILL_CUDA_EMULATED)
  cuda_emulator::mma_m16n8k32(d, a, b);
#else
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// y of one row and token.
__device__ inline float scaled(const Matrix& m, const Tokens& x, uint32_t row, uint32_t t,
                               int32_t sum) {
  const float scale =
      m.scale[kernels::scaled_by_row(m.kind) ? row : row / uint32_t{kernels::kHalfRows}];
  const float y = static_cast<float>(sum) * (scale * x.scale[t]);
  return m.bias == nullptr ? y : y + m.bias[row];
}

// Sums [kRows][n_tokens] of a panel in shared memory -> out, by all threads of the block.
__device__ inline void finish_panel(const Matrix& m, const Tokens& x, const Output& out,
                                    uint32_t panel, uint32_t first_token, uint32_t n_tokens,
                                    const int32_t* sums, uint32_t ld_sums) {
  const bool glu = out.finish == Finish::swiglu || out.finish == Finish::squared_relu_glu;
  const uint32_t width = glu ? kRows / 2 : kRows;
  const int32_t offset = plane_offset(m.kind);
  for (uint32_t i = threadIdx.x; i < width * n_tokens; i += blockDim.x) {
    const uint32_t r = i % width;
    const uint32_t in_tile = i / width;
    const uint32_t t = first_token + in_tile;
    const int32_t correction = offset * x.sum[t];
    const int32_t sum = sums[r * ld_sums + in_tile] - correction;
    const size_t at = size_t{t} * out.ld + panel * width + r;
    if (out.finish == Finish::sums) {
      static_cast<int32_t*>(out.to)[at] = sum;
      continue;
    }
    float* to = static_cast<float*>(out.to) + at;
    const float y = scaled(m, x, panel * kRows + r, t, sum);
    if (glu) {
      const int32_t up_sum = sums[(r + kRows / 2) * ld_sums + in_tile] - correction;
      const float up = scaled(m, x, panel * kRows + kRows / 2 + r, t, up_sum);
      *to = (out.finish == Finish::swiglu ? silu(y) : squared_relu(y)) * up;
    } else {
      *to = out.finish == Finish::add ? *to + y : y;
    }
  }
}

// For up to kFewTokens tokens; one block a panel. A lane is a row: no sum crosses lanes.
template <PanelKind kKind, int kTokens>
__global__ void __launch_bounds__(kWarp* kLinearWarps) linear_few(Matrix m, Tokens x, Output out) {
  __shared__ int32_t sums[kRows * kTokens];
  const uint32_t lane = threadIdx.x % kWarp;
  const uint32_t warp = threadIdx.x / kWarp;
  for (uint32_t i = threadIdx.x; i < kRows * kTokens; i += blockDim.x) sums[i] = 0;
  __syncthreads();
  const uint32_t steps = (m.cols + kPlaneColumns - 1) / kPlaneColumns;
  const size_t ld = padded_row(m.cols);
  int32_t acc[kTokens] = {};
#pragma unroll 4
  for (uint32_t step = warp; step < steps; step += kLinearWarps) {
    const Planes w = load_planes<kKind>(m, blockIdx.x, lane, step);
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      const auto q = *reinterpret_cast<const int4*>(x.q + t * ld + step * kPlaneColumns);
      acc[t] = __dp4a(static_cast<int>(w.of[0]), q.x, acc[t]);
      acc[t] = __dp4a(static_cast<int>(w.of[1]), q.y, acc[t]);
      acc[t] = __dp4a(static_cast<int>(w.of[2]), q.z, acc[t]);
      acc[t] = __dp4a(static_cast<int>(w.of[3]), q.w, acc[t]);
    }
  }
#pragma unroll
  for (int t = 0; t < kTokens; ++t) atomicAdd(&sums[lane * kTokens + t], acc[t]);
  __syncthreads();
  finish_panel(m, x, out, blockIdx.x, 0, x.n, sums, kTokens);
}

// For any number of tokens: blocks [panels, tiles of kTileTokens tokens]. A warp takes every
// kLinearWarps-th run of 128 columns; in it lane l reads whole steps of its own rows and tokens, so
// that product i of four is over the columns 4 i .. 4 i + 3 of 8 steps.
template <PanelKind kKind>
__global__ void __launch_bounds__(kWarp* kLinearWarps) linear_many(Matrix m, Tokens x, Output out) {
  constexpr int kTiles = kTileTokens / 8;
  __shared__ int32_t sums[kRows * kTileTokens];
  const uint32_t lane = threadIdx.x % kWarp;
  const uint32_t warp = threadIdx.x / kWarp;
  const uint32_t first_token = blockIdx.y * kTileTokens;
  for (uint32_t i = threadIdx.x; i < kRows * kTileTokens; i += blockDim.x) sums[i] = 0;
  __syncthreads();
  const uint32_t row = lane / 4;
  const uint32_t part = lane % 4;
  const size_t ld = padded_row(m.cols);
  const auto n_runs = static_cast<uint32_t>(ld / 128);
  int32_t acc[2][kTiles][4] = {};
  for (uint32_t run = warp; run < n_runs; run += kLinearWarps) {
    const uint32_t step = run * 8 + part;
    Planes w[2][4];  // [half][rows row and row + 8, at step and step + 4]
#pragma unroll
    for (uint32_t half = 0; half < 2; ++half) {
#pragma unroll
      for (uint32_t i = 0; i < 4; ++i) {
        w[half][i] =
            load_planes<kKind>(m, blockIdx.x, half * 16 + row + i % 2 * 8, step + i / 2 * 4);
      }
    }
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      const uint32_t token = first_token + static_cast<uint32_t>(tile) * 8 + row;
      int4 q[2] = {};
      if (token < x.n) {
        const int8_t* from = x.q + token * ld + step * kPlaneColumns;
        q[0] = *reinterpret_cast<const int4*>(from);
        q[1] = *reinterpret_cast<const int4*>(from + 4 * kPlaneColumns);
      }
      const int* first = &q[0].x;
      const int* second = &q[1].x;
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const uint32_t b[2] = {static_cast<uint32_t>(first[k]), static_cast<uint32_t>(second[k])};
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const uint32_t a[4] = {w[half][0].of[k], w[half][1].of[k], w[half][2].of[k],
                                 w[half][3].of[k]};
          multiply_tile(acc[half][tile], a, b);
        }
      }
    }
  }
#pragma unroll
  for (uint32_t half = 0; half < 2; ++half) {
#pragma unroll
    for (uint32_t tile = 0; tile < kTiles; ++tile) {
#pragma unroll
      for (uint32_t i = 0; i < 4; ++i) {
        const uint32_t r = half * 16 + row + i / 2 * 8;
        const uint32_t t = tile * 8 + part * 2 + i % 2;
        atomicAdd(&sums[r * kTileTokens + t], acc[half][tile][i]);
      }
    }
  }
  __syncthreads();
  const uint32_t left = x.n - first_token;
  finish_panel(m, x, out, blockIdx.x, first_token, left < kTileTokens ? left : kTileTokens, sums,
               kTileTokens);
}

}  // namespace tristill::cuda
