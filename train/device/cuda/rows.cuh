// Rows that a block holds in its registers from the one time they are read: their norm and its way
// back, and their quantisation. A thread has every blockDim-th four of columns, eight at most; a
// block is as small as that allows, so that many share a multiprocessor and one's sum in order
// hides behind the others' memory.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "model/cuda/arithmetic.cuh"
#include "train/device/cuda/block_reduce.cuh"
#include "train/device/cuda/fours.cuh"
#include "train/device/kernels.h"

namespace tristill::train::fused {

constexpr uint32_t kHeldFours = 8;
static_assert(device::kMostKernelColumns == kMostThreads * kHeldFours * kFour);
constexpr uint32_t kStaged = 1024;  // floats of a row in shared memory at once

constexpr uint32_t row_threads(size_t cols) {
  constexpr size_t kOfWarp = size_t{kWarp} * kHeldFours * kFour;
  return static_cast<uint32_t>((cols + kOfWarp - 1) / kOfWarp) * kWarp;
}

struct Row {
  Four<float> held[kHeldFours];
};

struct RowScratch {
  alignas(16) float staged[kStaged];
  float lanes[tristill::cuda::kLanes];
  float sums[kMostWarps];
  uint32_t maxima[kMostWarps];
};

// f(which of those that this thread holds, its first column).
template <class F>
__device__ inline void each_four(uint32_t cols, F&& f) {
#pragma unroll
  for (uint32_t k = 0; k < kHeldFours; ++k) {
    const uint32_t c = (k * blockDim.x + threadIdx.x) * kFour;
    if (c < cols) f(k, c);
  }
}

// Zeros beyond cols.
template <bool kWhole>
__device__ inline Row load_row(const float* x, uint32_t cols) {
  Row row = {};
  each_four(cols, [&](uint32_t k, uint32_t c) { row.held[k] = load<kWhole>(x, c, cols); });
  return row;
}

// The sum of squares in the one order of model/kernels: 16 lanes, each by ascending columns, and a
// tree. One of 16 threads each has a lane, as in model/cuda.
__device__ inline float squares_in_order(const Row& row, uint32_t cols, RowScratch& scratch) {
  constexpr uint32_t kLanes = tristill::cuda::kLanes;
  float total = 0.0F;
  for (uint32_t from = 0; from < cols; from += kStaged) {
    const uint32_t end = cols - from < kStaged ? cols : from + kStaged;
    each_four(end, [&](uint32_t k, uint32_t c) {
      if (c >= from) *reinterpret_cast<Four<float>*>(scratch.staged + (c - from)) = row.held[k];
    });
    __syncthreads();
    if (threadIdx.x < kLanes) {
#pragma unroll 8
      for (uint32_t i = threadIdx.x; i < end - from; i += kLanes) {
        total = __fmaf_rn(scratch.staged[i], scratch.staged[i], total);
      }
    }
    __syncthreads();
  }
  if (threadIdx.x < kLanes) scratch.lanes[threadIdx.x] = total;
  __syncthreads();
  return tristill::cuda::sum_lanes(scratch.lanes);
}

template <bool kWhole>
__device__ inline void normalize(Row& row, const float* gain, float eps, uint32_t cols,
                                 RowScratch& scratch) {
  const float inverse =
      tristill::cuda::inverse_norm(squares_in_order(row, cols, scratch), cols, eps);
  each_four(cols, [&](uint32_t k, uint32_t c) {
    const Four<float> g = load<kWhole>(gain, c, cols);
#pragma unroll
    for (uint32_t i = 0; i < kFour; ++i) {
      row.held[k].of[i] = (row.held[k].of[i] * inverse) * g.of[i];
    }
  });
}

// Of the bits, which are in the order of the numbers: infinity after all of them, NaN after that.
__device__ inline float absmax_of(const Row& row, uint32_t cols, RowScratch& scratch) {
  uint32_t most = 0;
  each_four(cols, [&](uint32_t k, uint32_t) {
#pragma unroll
    for (uint32_t i = 0; i < kFour; ++i) {
      most = Max()(most, __float_as_uint(fabsf(row.held[k].of[i])));
    }
  });
  return __uint_as_float(block_reduce(most, scratch.maxima, Max()));
}

// Kernels. One block a row.

// After RMS norm, or as they are.
template <bool kNormed, bool kWhole>
__global__ void __launch_bounds__(kMostThreads)
    quantize_rows(const float* x, const float* gain, float eps, uint32_t cols, float limit,
                  int8_t* q, float* scale) {
  __shared__ RowScratch scratch;
  const size_t at = size_t{blockIdx.x} * cols;
  Row row = load_row<kWhole>(x + at, cols);
  if constexpr (kNormed) normalize<kWhole>(row, gain, eps, cols, scratch);
  const float most = absmax_of(row, cols, scratch);
  const tristill::cuda::Quantizer quantize(most, limit);
  each_four(cols, [&](uint32_t k, uint32_t c) {
    Four<int8_t> rounded;
#pragma unroll
    for (uint32_t i = 0; i < kFour; ++i) {
      rounded.of[i] = static_cast<int8_t>(quantize(row.held[k].of[i]));
    }
    store<kWhole>(q + at, c, cols, rounded);
  });
  // The quantizer takes a NaN for an empty row.
  if (threadIdx.x == 0) scale[blockIdx.x] = most == most ? quantize.scale : most;
}

template <bool kWhole>
__global__ void __launch_bounds__(kMostThreads)
    norm_rows(const float* x, const float* gain, float eps, uint32_t cols, float* y) {
  __shared__ RowScratch scratch;
  const size_t at = size_t{blockIdx.x} * cols;
  Row row = load_row<kWhole>(x + at, cols);
  normalize<kWhole>(row, gain, eps, cols, scratch);
  each_four(cols, [&](uint32_t k, uint32_t c) { store<kWhole>(y + at, c, cols, row.held[k]); });
}

// One block a strip of rows, whose part of dgain its threads hold, each of its own columns.
template <bool kWhole>
__global__ void __launch_bounds__(kMostThreads)
    norm_rows_backward(const float* x, const float* gain, float eps, const float* dy, size_t rows,
                       uint32_t cols, float* dx, float* dgain) {
  __shared__ float sums[kMostWarps];
  Row total = {};
  for (size_t r = blockIdx.x; r < rows; r += gridDim.x) {
    const size_t at = r * cols;
    const Row in = load_row<kWhole>(x + at, cols);
    const Row back = load_row<kWhole>(dy + at, cols);
    float squares = 0.0F;
    float along = 0.0F;
    each_four(cols, [&](uint32_t k, uint32_t c) {
      const Four<float> g = load<kWhole>(gain, c, cols);
#pragma unroll
      for (uint32_t i = 0; i < kFour; ++i) {
        const float value = in.held[k].of[i];
        squares += value * value;
        along += back.held[k].of[i] * g.of[i] * value;
      }
    });
    squares = block_reduce(squares, sums, Sum());
    along = block_reduce(along, sums, Sum());
    const float inverse = tristill::cuda::inverse_norm(squares, cols, eps);
    const float shrink = inverse * inverse * __fdiv_rn(along, static_cast<float>(cols));
    each_four(cols, [&](uint32_t k, uint32_t c) {
      const Four<float> g = load<kWhole>(gain, c, cols);
      Four<float> out;
#pragma unroll
      for (uint32_t i = 0; i < kFour; ++i) {
        const float value = in.held[k].of[i];
        const float from = back.held[k].of[i];
        total.held[k].of[i] += from * value * inverse;
        out.of[i] = inverse * (from * g.of[i] - value * shrink);
      }
      store<kWhole>(dx + at, c, cols, out);
    });
  }
  each_four(cols, [&](uint32_t k, uint32_t c) {
    store<kWhole>(dgain + size_t{blockIdx.x} * cols, c, cols, total.held[k]);
  });
}

}  // namespace tristill::train::fused
