// Latent weights into ternary ones, and quantised weights into what the backward pass multiplies.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "model/cuda/arithmetic.cuh"
#include "train/device/cuda/block_reduce.cuh"
#include "train/device/cuda/fours.cuh"
#include "train/device/kernels.h"

namespace tristill::train::fused {

constexpr uint32_t kFlatThreads = 256;
static_assert(device::kMagnitudeSums <= kFlatThreads);  // a thread each, to add them up

// sums[block] = its part of sum |w|. Each thread adds up in ascending order.
template <bool kWhole>
__global__ void __launch_bounds__(kFlatThreads)
    sum_magnitudes(const float* w, size_t n, double* sums) {
  __shared__ double shared[kMostWarps];
  const size_t stride = size_t{gridDim.x} * blockDim.x * kFour;
  double sum = 0.0;
#pragma unroll 4
  for (size_t i = (size_t{blockIdx.x} * blockDim.x + threadIdx.x) * kFour; i < n; i += stride) {
    const Four<float> four = load<kWhole>(w, i, n);
#pragma unroll
    for (uint32_t k = 0; k < kFour; ++k) sum += static_cast<double>(fabsf(four.of[k]));
  }
  sum = block_reduce(sum, shared, Sum());
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// Every block finds gamma of the same sums in the same order.
template <bool kWhole>
__global__ void __launch_bounds__(kFlatThreads)
    ternarize_weights(const float* w, size_t n, const double* sums, uint32_t n_sums, int8_t* t,
                      float* gamma) {
  __shared__ double shared[kMostWarps];
  const double sum = block_reduce(threadIdx.x < n_sums ? sums[threadIdx.x] : 0.0, shared, Sum());
  const auto mean = static_cast<float>(sum / static_cast<double>(n));
  if (blockIdx.x == 0 && threadIdx.x == 0) *gamma = mean;
  const size_t stride = size_t{gridDim.x} * blockDim.x * kFour;
#pragma unroll 4
  for (size_t i = (size_t{blockIdx.x} * blockDim.x + threadIdx.x) * kFour; i < n; i += stride) {
    const Four<float> four = load<kWhole>(w, i, n);
    Four<int8_t> ternary;
#pragma unroll
    for (uint32_t k = 0; k < kFour; ++k) {
      const float ratio = __fdiv_rn(four.of[k], mean);  // of zeros alone NaN, which is neither
      ternary.of[k] = static_cast<int8_t>((ratio > 0.5F ? 1 : 0) - (ratio < -0.5F ? 1 : 0));
    }
    store<kWhole>(t, i, n, ternary);
  }
}

struct ToFp32 {
  using Type = float;
  __device__ static float of(float x) { return x; }
};
struct ToBf16 {
  using Type = uint16_t;
  // Half to even; a NaN is the quiet one.
  __device__ static uint16_t of(float x) {
    const uint32_t bits = __float_as_uint(x);
    if (x != x) return 0x7FC0;
    return static_cast<uint16_t>((bits + 0x7FFFU + (bits >> 16 & 1U)) >> 16);
  }
};
struct ToFp16 {
  using Type = uint16_t;
  __device__ static uint16_t of(float x) { return __half_as_ushort(__float2half_rn(x)); }
};

// One block a row.
template <class To, bool kWhole>
__global__ void __launch_bounds__(kFlatThreads)
    dequantize_rows(const int8_t* q, const float* scale, bool scaled_by_row, uint32_t cols,
                    typename To::Type* to, int32_t* row_sum) {
  __shared__ int32_t shared[kMostWarps];
  const size_t at = size_t{blockIdx.x} * cols;
  const float factor = scale[scaled_by_row ? blockIdx.x : 0];
  int32_t sum = 0;
  for (uint32_t c = threadIdx.x * kFour; c < cols; c += blockDim.x * kFour) {
    const Four<int8_t> from = load<kWhole>(q + at, c, cols);
    Four<typename To::Type> out;
#pragma unroll
    for (uint32_t i = 0; i < kFour; ++i) {
      sum += from.of[i];
      out.of[i] = To::of(static_cast<float>(from.of[i]) * factor);
    }
    store<kWhole>(to + at, c, cols, out);
  }
  sum = block_reduce(sum, shared, Sum());
  if (threadIdx.x == 0) row_sum[blockIdx.x] = sum;
}

}  // namespace tristill::train::fused
