// Numbers on the GPU as kernels.h defines them: one rounding where it writes fma, none fused
// elsewhere (compiled with --fmad=false), sums of 16 lanes and a tree.
#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace tristill::cuda {

constexpr uint32_t kLanes = 16;

// Cephes expf, as scalar.cpp has it.
__device__ inline float exp_value(float t) {
  if (!(t >= -87.0F)) return 0.0F;
  t = t < 88.0F ? t : 88.0F;
  const float round = 12582912.0F;  // 1.5 * 2^23
  const float n = __fmaf_rn(t, 1.44269504088896341F, round) - round;
  float r = __fmaf_rn(n, -0.693359375F, t);
  r = __fmaf_rn(n, 2.12194440e-4F, r);
  float p = 1.9875691500e-4F;
  p = __fmaf_rn(p, r, 1.3981999507e-3F);
  p = __fmaf_rn(p, r, 8.3334519073e-3F);
  p = __fmaf_rn(p, r, 4.1665795894e-2F);
  p = __fmaf_rn(p, r, 1.6666665459e-1F);
  p = __fmaf_rn(p, r, 5.0000001201e-1F);
  p = __fmaf_rn(p, r * r, r) + 1.0F;
  return p * __int_as_float((static_cast<int>(n) + 127) << 23);
}

__device__ inline float silu(float g) { return __fdiv_rn(g, 1.0F + exp_value(0.0F - g)); }
__device__ inline float soft_capped(float score, float cap) {
  return cap - __fdiv_rn(2.0F * cap, 1.0F + exp_value(score * __fdiv_rn(2.0F, cap)));
}
__device__ inline float squared_relu(float g) {
  const float positive = g > 0.0F ? g : 0.0F;
  return positive * positive;
}

// The whole number that x becomes in a row with this absmax, and the row's scale.
struct Quantizer {
  float inverse, scale, limit;
  __device__ explicit Quantizer(float most, float most_q = 127.0F) : limit(most_q) {
    inverse = __fdiv_rn(limit, most);
    scale = __fdiv_rn(most, limit);
    if (!(inverse <= 3.402823466e+38F)) inverse = scale = 0.0F;
  }
  __device__ int operator()(float x) const {
    float v = x * inverse;
    v = v > -limit ? v : -limit;
    v = v < limit ? v : limit;
    return __float2int_rn(v);
  }
};

__device__ inline float clamp_to_half(float x) {
  x = x > -65504.0F ? x : -65504.0F;
  return x < 65504.0F ? x : 65504.0F;
}
__device__ inline uint16_t to_half(float x) {
  return __half_as_ushort(__float2half_rn(clamp_to_half(x)));
}
__device__ inline float from_half(uint16_t half) { return __half2float(__ushort_as_half(half)); }

// The tree over 16 lanes of shared memory; by one thread.
__device__ inline float sum_lanes(const float* lanes) {
  float t[kLanes / 2];
  for (int i = 0; i < 8; ++i) t[i] = lanes[i] + lanes[i + 8];
  for (int i = 0; i < 4; ++i) t[i] = t[i] + t[i + 4];
  for (int i = 0; i < 2; ++i) t[i] = t[i] + t[i + 2];
  return t[0] + t[1];
}

// 1 / sqrt(mean of squares + eps), from the sum of squares.
__device__ inline float inverse_norm(float squares, uint32_t n, float eps) {
  const float mean = __fdiv_rn(squares, static_cast<float>(n));
  return __fdiv_rn(1.0F, __fsqrt_rn(mean + eps));
}

}  // namespace tristill::cuda
