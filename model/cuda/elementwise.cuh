// Everything between the linear layers and attention: embedding, norm and quantisation, the
// greatest logit.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "model/cuda/arithmetic.cuh"
#include "model/cuda/device_model.h"
#include "model/cuda/planes.cuh"

namespace tristill::cuda {

constexpr uint32_t kRowThreads = 256;
constexpr uint32_t kStaged = 4096;  // floats of a row in shared memory at once

// The greatest of the block's values, for every thread.
__device__ inline float block_max(float value, float* shared) {
  shared[threadIdx.x] = value;
  __syncthreads();
  for (uint32_t n = blockDim.x / 2; n > 0; n /= 2) {
    if (threadIdx.x < n) {
      const float other = shared[threadIdx.x + n];
      if (other > shared[threadIdx.x]) shared[threadIdx.x] = other;
    }
    __syncthreads();
  }
  const float most = shared[0];
  __syncthreads();
  return most;
}

// The sum of squares of a row in the one order, for every thread.
__device__ inline float sum_of_squares(const float* x, uint32_t cols, float* staged, float* lanes) {
  float total = 0.0F;
  for (uint32_t from = 0; from < cols; from += kStaged) {
    const uint32_t n = cols - from < kStaged ? cols - from : kStaged;
    for (uint32_t i = threadIdx.x; i < n; i += blockDim.x) staged[i] = x[from + i];
    __syncthreads();
    if (threadIdx.x < kLanes) {
      for (uint32_t i = threadIdx.x; i < n; i += kLanes) {
        total = __fmaf_rn(staged[i], staged[i], total);
      }
    }
    __syncthreads();
  }
  if (threadIdx.x < kLanes) lanes[threadIdx.x] = total;
  __syncthreads();
  const float sum = sum_lanes(lanes);
  __syncthreads();
  return sum;
}

// Row rows[t] of x (t itself when rows is null) -> token t, after RMS norm unless gain is null. One
// block a token.
__global__ void __launch_bounds__(kRowThreads)
    quantize_rows(const float* x, uint32_t ld, const uint32_t* rows, const float* gain, float eps,
                  uint32_t cols, float limit, Tokens to) {
  __shared__ float staged[kStaged];
  __shared__ float lanes[kLanes];
  __shared__ int32_t total;
  const uint32_t t = blockIdx.x;
  const float* row = x + size_t{rows == nullptr ? t : rows[t]} * ld;
  const float inverse =
      gain == nullptr ? 1.0F : inverse_norm(sum_of_squares(row, cols, staged, lanes), cols, eps);
  const auto value = [&](uint32_t c) {
    return gain == nullptr ? row[c] : (row[c] * inverse) * gain[c];
  };
  float most = 0.0F;
  for (uint32_t c = threadIdx.x; c < cols; c += blockDim.x) {
    const float a = fabsf(value(c));
    if (a > most) most = a;
  }
  const Quantizer quantize(block_max(most, staged), limit);
  if (threadIdx.x == 0) total = 0;
  __syncthreads();
  int32_t sum = 0;
  const uint32_t padded = padded_row(cols);
  int8_t* q = to.q + size_t{t} * padded;
  for (uint32_t c = threadIdx.x; c < padded; c += blockDim.x) {
    const int v = c < cols ? quantize(value(c)) : 0;
    q[c] = static_cast<int8_t>(v);
    sum += v;
  }
  atomicAdd(&total, sum);
  __syncthreads();
  if (threadIdx.x != 0) return;
  to.scale[t] = quantize.scale;
  to.sum[t] = total;
}

// Row rows[t] of x -> to [n, cols], after RMS norm. One block a row.
__global__ void __launch_bounds__(kRowThreads)
    norm_rows(const float* x, uint32_t ld, const uint32_t* rows, const float* gain, float eps,
              uint32_t cols, float* to) {
  __shared__ float staged[kStaged];
  __shared__ float lanes[kLanes];
  const float* row = x + size_t{rows[blockIdx.x]} * ld;
  const float inverse = inverse_norm(sum_of_squares(row, cols, staged, lanes), cols, eps);
  float* out = to + size_t{blockIdx.x} * cols;
  for (uint32_t c = threadIdx.x; c < cols; c += blockDim.x) out[c] = (row[c] * inverse) * gain[c];
}

// Rows of the embedding -> h [n, ld]. From int8 rows, or (rows null) from a sliced head. One block
// a token.
__global__ void embed_tokens(const int32_t* tokens, const int8_t* rows, const float* scale,
                             Matrix head, uint32_t cols, float* h, uint32_t ld) {
  const auto token = static_cast<uint32_t>(tokens[blockIdx.x]);
  float* to = h + size_t{blockIdx.x} * ld;
  if (rows != nullptr) {
    for (uint32_t c = threadIdx.x; c < cols; c += blockDim.x) {
      to[c] = static_cast<float>(rows[size_t{token} * cols + c]) * scale[token];
    }
    return;
  }
  const uint32_t steps = (cols + kPlaneColumns - 1) / kPlaneColumns;
  for (uint32_t step = threadIdx.x; step < steps; step += blockDim.x) {
    const Planes planes = load_planes<PanelKind::sliced>(
        head, token / uint32_t{kernels::kPanelRows}, token % uint32_t{kernels::kPanelRows}, step);
    for (uint32_t i = 0; i < kPlaneColumns; ++i) {
      const uint32_t c = step * kPlaneColumns + i;
      const auto weight = static_cast<int8_t>(planes.of[i / 4] >> (8 * (i % 4)) & 0xFFU);
      if (c < cols) to[c] = static_cast<float>(weight) * head.scale[token];
    }
  }
}

// logits = cap * tanh(logits / cap), as soft_cap of transformer.h.
__global__ void cap_logits(float* logits, size_t n, float cap) {
  const size_t stride = size_t{gridDim.x} * blockDim.x;
  for (size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n; i += stride) {
    const float x = logits[i];
    const float e = exp_value(-2.0F * fabsf(__fdiv_rn(x, cap)) - 0.0F);
    logits[i] = copysignf(cap * __fdiv_rn(1.0F - e, 1.0F + e), x);
  }
}

// The greatest of each row of logits, the lowest index on ties, -1 when it is not finite. One block
// a row.
__global__ void __launch_bounds__(kRowThreads)
    find_greatest(const float* logits, uint32_t ld, uint32_t vocabulary, int32_t* greatest) {
  __shared__ float most[kRowThreads];
  __shared__ uint32_t first;
  const float* row = logits + size_t{blockIdx.x} * ld;
  float value = -INFINITY;
  for (uint32_t v = threadIdx.x; v < vocabulary; v += blockDim.x) {
    if (row[v] > value) value = row[v];
  }
  value = block_max(value, most);
  if (threadIdx.x == 0) first = vocabulary;
  __syncthreads();
  for (uint32_t v = threadIdx.x; v < vocabulary; v += blockDim.x) {
    if (row[v] == value) atomicMin(&first, v);
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    greatest[blockIdx.x] = fabsf(value) <= 3.402823466e+38F ? static_cast<int32_t>(first) : -1;
  }
}

}  // namespace tristill::cuda
