// What comes of a linear layer's integer sums, and gated linear units with their way back: number
// by number.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "model/cuda/arithmetic.cuh"
#include "train/device/cuda/fours.cuh"

namespace tristill::train::fused {

constexpr uint32_t kActivationThreads = 256;

// One block a token.
template <bool kWhole>
__global__ void __launch_bounds__(kActivationThreads)
    scale_sums(const int32_t* acc, const float* scale, bool scaled_by_row, const float* token_scale,
               const float* bias, uint32_t rows, float* y) {
  const size_t at = size_t{blockIdx.x} * rows;
  const float s = token_scale[blockIdx.x];
  const float both = scale[0] * s;
  for (uint32_t r = threadIdx.x * kFour; r < rows; r += blockDim.x * kFour) {
    const Four<int32_t> sums = load<kWhole>(acc + at, r, rows);
    Four<float> out;
    const Four<float> of_row = scaled_by_row ? load<kWhole>(scale, r, rows) : Four<float>{};
    const Four<float> added = bias != nullptr ? load<kWhole>(bias, r, rows) : Four<float>{};
#pragma unroll
    for (uint32_t i = 0; i < kFour; ++i) {
      const float factor = scaled_by_row ? of_row.of[i] * s : both;
      out.of[i] = static_cast<float>(sums.of[i]) * factor;
      if (bias != nullptr) out.of[i] = out.of[i] + added.of[i];
    }
    store<kWhole>(y + at, r, rows, out);
  }
}

// Unlike the contract's arithmetic, these do not take a NaN for nothing.
__device__ inline float positive_part(float g) { return g <= 0.0F ? 0.0F : g; }

struct SquaredRelu {
  __device__ static float of(float g) { return positive_part(g) * positive_part(g); }
  __device__ static void back(float g, float up, float dy, float& dgate, float& dup) {
    const float positive = positive_part(g);
    dgate = 2.0F * positive * up * dy;
    dup = positive * positive * dy;
  }
};
struct Silu {
  __device__ static float of(float g) { return tristill::cuda::silu(g); }
  __device__ static void back(float g, float up, float dy, float& dgate, float& dup) {
    const float sigmoid = __fdiv_rn(1.0F, 1.0F + tristill::cuda::exp_value(0.0F - g));
    const float silu = g * sigmoid;
    dgate = dy * up * (sigmoid + silu * (1.0F - sigmoid));
    dup = dy * silu;
  }
};

// Four numbers a thread.
template <class Act, bool kWhole>
__global__ void __launch_bounds__(kActivationThreads)
    gated(const float* gate, const float* up, size_t n, float* y) {
  const size_t i = (size_t{blockIdx.x} * blockDim.x + threadIdx.x) * kFour;
  if (i >= n) return;
  const Four<float> g = load<kWhole>(gate, i, n);
  const Four<float> u = load<kWhole>(up, i, n);
  Four<float> out;
#pragma unroll
  for (uint32_t k = 0; k < kFour; ++k) out.of[k] = Act::of(g.of[k]) * u.of[k];
  store<kWhole>(y, i, n, out);
}

template <class Act, bool kWhole>
__global__ void __launch_bounds__(kActivationThreads)
    gated_backward(const float* gate, const float* up, const float* dy, size_t n, float* dgate,
                   float* dup) {
  const size_t i = (size_t{blockIdx.x} * blockDim.x + threadIdx.x) * kFour;
  if (i >= n) return;
  const Four<float> g = load<kWhole>(gate, i, n);
  const Four<float> u = load<kWhole>(up, i, n);
  const Four<float> back = load<kWhole>(dy, i, n);
  Four<float> to_gate;
  Four<float> to_up;
#pragma unroll
  for (uint32_t k = 0; k < kFour; ++k) {
    Act::back(g.of[k], u.of[k], back.of[k], to_gate.of[k], to_up.of[k]);
  }
  store<kWhole>(dgate, i, n, to_gate);
  store<kWhole>(dup, i, n, to_up);
}

}  // namespace tristill::train::fused
