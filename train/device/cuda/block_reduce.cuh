// What all threads of a block know together: sums in one order whatever the device, and maxima.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace tristill::train::fused {

constexpr uint32_t kWarp = 32;
constexpr uint32_t kEveryLane = 0xFFFFFFFFU;
constexpr uint32_t kMostThreads = 512;
constexpr uint32_t kMostWarps = kMostThreads / kWarp;

struct Sum {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct Max {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a > b ? a : b;
  }
};

// join of the block's values, for every thread: a butterfly in each warp, then the warps in order.
// join commutes. shared is free again when this returns.
template <class T, class Join>
__device__ inline T block_reduce(T value, T (&shared)[kMostWarps], Join join) {
#pragma unroll
  for (uint32_t lanes = kWarp / 2; lanes > 0; lanes /= 2) {
    value = join(value, __shfl_xor_sync(kEveryLane, value, static_cast<int>(lanes)));
  }
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = value;
  __syncthreads();
  T all = shared[0];
  for (uint32_t warp = 1; warp < blockDim.x / kWarp; ++warp) all = join(all, shared[warp]);
  __syncthreads();
  return all;
}

}  // namespace tristill::train::fused
