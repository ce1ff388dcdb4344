// Attention on the GPU over the paged cache, in the order of kernels.h: a score is one chain over
// the dimensions, an output one chain over the positions. The layout of a block is the CPU's.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "model/cuda/arithmetic.cuh"
#include "model/cuda/device_model.h"
#include "model/cuda/elementwise.cuh"

namespace tristill::cuda {

constexpr uint32_t kPlaceThreads = 64;
constexpr uint32_t kAttentionThreads = 256;
constexpr uint32_t kMaxGroup = 8;  // query heads of a key head that a block takes at once
constexpr uint32_t kPositions = kernels::kKvPositions;

__device__ inline const uint32_t* blocks_of(const Places& places, uint32_t t) {
  return places.blocks + size_t{places.segment[t]} * places.ld_blocks;
}

// One head's part of the block that holds a position.
struct Slot {
  uint8_t* keys;
  uint8_t* values;
  float* key_scale;
  float* value_scale;
  uint32_t slot, width;
  __device__ Slot(const Cache& cache, const uint32_t* blocks, uint32_t kv_head, uint32_t dim,
                  uint32_t position)
      : keys(cache.base + blocks[position / kPositions] * cache.block_bytes +
             size_t{kv_head} * cache.head_bytes),
        values(keys + kernels::kv_keys_bytes(cache.format, dim)),
        key_scale(reinterpret_cast<float*>(values + kernels::kv_values_bytes(cache.format, dim))),
        value_scale(key_scale + kPositions),
        slot(position % kPositions),
        width(static_cast<uint32_t>(kernels::whole_vectors(dim))) {}
};

// x [dim] in shared memory -> its norm, when there is a gain, and its rotation at a position.
__device__ inline void norm_and_rotate(float* x, const Heads& heads, const float* gain,
                                       uint32_t position, float* lanes) {
  const uint32_t dim = heads.dim;
  if (gain != nullptr) {
    if (threadIdx.x < kLanes) {
      float total = 0.0F;
      for (uint32_t i = threadIdx.x; i < dim; i += kLanes) total = __fmaf_rn(x[i], x[i], total);
      lanes[threadIdx.x] = total;
    }
    __syncthreads();
    const float inverse = inverse_norm(sum_lanes(lanes), dim, heads.eps);
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < dim; i += blockDim.x) x[i] = (x[i] * inverse) * gain[i];
    __syncthreads();
  }
  const uint32_t half = dim / 2;
  for (uint32_t i = threadIdx.x; i < half; i += blockDim.x) {
    const float a = x[i];
    const float b = x[i + half];
    const float c = heads.cosine[size_t{position} * half + i];
    const float s = heads.sine[size_t{position} * half + i];
    x[i] = __fmaf_rn(a, c, 0.0F - b * s);
    x[i + half] = __fmaf_rn(b, c, a * s);
  }
  __syncthreads();
}

__device__ inline float absmax(const float* x, uint32_t n) {
  float most = 0.0F;
  for (uint32_t i = 0; i < n; ++i) {
    const float a = fabsf(x[i]);
    if (a > most) most = a;
  }
  return most;
}

__device__ inline void store_position(const Slot& at, KvFormat format, uint32_t dim,
                                      const float* key, const float* value) {
  if (format == KvFormat::fp16) {
    auto* keys = reinterpret_cast<uint16_t*>(at.keys);
    auto* values = reinterpret_cast<uint16_t*>(at.values);
    for (uint32_t d = threadIdx.x; d < dim; d += blockDim.x) {
      keys[d * kPositions + at.slot] = to_half(key[d]);
      values[at.slot * at.width + d] = to_half(value[d]);
    }
    return;
  }
  const Quantizer quantize_key(absmax(key, dim));
  const Quantizer quantize_value(absmax(value, dim));
  for (uint32_t d = threadIdx.x; d < (dim + 3) / 4 * 4; d += blockDim.x) {
    const int k = d < dim ? quantize_key(key[d]) : 0;
    reinterpret_cast<int8_t*>(at.keys)[(d / 4 * kPositions + at.slot) * 4 + d % 4] =
        static_cast<int8_t>(k);
    if (d < dim) {
      reinterpret_cast<int8_t*>(at.values)[at.slot * at.width + d] =
          static_cast<int8_t>(quantize_value(value[d]));
    }
  }
  if (threadIdx.x == 0) {
    at.key_scale[at.slot] = quantize_key.scale;
    at.value_scale[at.slot] = quantize_value.scale;
  }
}

// Norms and rotates queries and keys, scales the queries by 1 / sqrt(dim), puts keys and values
// into the cache. Blocks [tokens, query heads then key heads].
__global__ void __launch_bounds__(kPlaceThreads)
    place_heads(float* qkv, Heads heads, Cache cache, Places places, float query_scale) {
  __shared__ float x[kMaxHeadDim];
  __shared__ float value[kMaxHeadDim];
  __shared__ float lanes[kLanes];
  const uint32_t t = blockIdx.x;
  const bool is_key = blockIdx.y >= heads.n_heads;
  const uint32_t head = is_key ? blockIdx.y - heads.n_heads : blockIdx.y;
  float* from =
      qkv + size_t{t} * heads.ld + (is_key ? heads.k_begin : uint32_t{0}) + head * heads.dim;
  for (uint32_t i = threadIdx.x; i < heads.dim; i += blockDim.x) x[i] = from[i];
  __syncthreads();
  const uint32_t position = places.position[t];
  norm_and_rotate(x, heads, is_key ? heads.k_norm : heads.q_norm, position, lanes);
  if (!is_key) {
    for (uint32_t i = threadIdx.x; i < heads.dim; i += blockDim.x) from[i] = x[i] * query_scale;
    return;
  }
  const float* values = qkv + size_t{t} * heads.ld + heads.v_begin + head * heads.dim;
  for (uint32_t i = threadIdx.x; i < heads.dim; i += blockDim.x) value[i] = values[i];
  __syncthreads();
  const Slot at(cache, blocks_of(places, t), head, heads.dim, position);
  store_position(at, cache.format, heads.dim, x, value);
}

// Queries of one key head that a block works on.
struct Group {
  float q[kMaxGroup][kMaxHeadDim];
  uint32_t q8[kMaxGroup][kMaxHeadDim / 4];
  float q_scale[kMaxGroup];
  float most[kMaxGroup];
  float sum[kMaxGroup];
};

__device__ inline void score_position(const Slot& at, KvFormat format, uint32_t dim,
                                      const Group& group, uint32_t n, float* scores, uint32_t ld,
                                      uint32_t position) {
  if (format == KvFormat::fp16) {
    const auto* keys = reinterpret_cast<const uint16_t*>(at.keys) + at.slot;
    float s[kMaxGroup] = {};
    for (uint32_t d = 0; d < dim; ++d) {
      const float k = from_half(keys[d * kPositions]);
#pragma unroll
      for (uint32_t i = 0; i < kMaxGroup; ++i) {
        if (i < n) s[i] = __fmaf_rn(group.q[i][d], k, s[i]);
      }
    }
    for (uint32_t i = 0; i < n; ++i) scores[size_t{i} * ld + position] = s[i];
    return;
  }
  const auto* keys = reinterpret_cast<const int*>(at.keys) + at.slot;
  int32_t s[kMaxGroup] = {};
  for (uint32_t d = 0; d < (dim + 3) / 4; ++d) {
    const int k = keys[d * kPositions];
#pragma unroll
    for (uint32_t i = 0; i < kMaxGroup; ++i) {
      if (i < n) s[i] = __dp4a(k, static_cast<int>(group.q8[i][d]), s[i]);
    }
  }
  for (uint32_t i = 0; i < n; ++i) {
    scores[size_t{i} * ld + position] =
        static_cast<float>(s[i]) * (group.q_scale[i] * at.key_scale[at.slot]);
  }
}

// Caps the scores of n queries, and hides their first positions.
__device__ inline void cap_and_hide(const Heads& heads, uint32_t n, uint32_t length,
                                    uint32_t hidden, float* scores, uint32_t ld) {
  for (uint32_t i = threadIdx.x; heads.softcap > 0.0F && i < n * length; i += blockDim.x) {
    float& score = scores[size_t{i / length} * ld + i % length];
    score = soft_capped(score, heads.softcap);
  }
  __syncthreads();
  for (uint32_t i = threadIdx.x; i < n * hidden; i += blockDim.x) {
    scores[size_t{i / hidden} * ld + i % hidden] = -INFINITY;
  }
  __syncthreads();
}

// Scores -> exp(score - max) in place, their sums in the one order, times the values' scales.
__device__ inline void soften(const Cache& cache, const Heads& heads, const uint32_t* blocks,
                              uint32_t kv_head, uint32_t length, Group& group, uint32_t n,
                              float* scores, uint32_t ld, float* shared) {
  for (uint32_t i = 0; i < n; ++i) {
    float* row = scores + size_t{i} * ld;
    float most = -INFINITY;
    for (uint32_t p = threadIdx.x; p < length; p += blockDim.x) {
      if (row[p] > most) most = row[p];
    }
    most = block_max(most, shared);
    for (uint32_t p = threadIdx.x; p < length; p += blockDim.x) row[p] = exp_value(row[p] - most);
  }
  __syncthreads();
  // Lane l of query i is thread 16 i + l.
  for (uint32_t i = threadIdx.x / kLanes; i < n; i += blockDim.x / kLanes) {
    const float* row = scores + size_t{i} * ld;
    float total = 0.0F;
    for (uint32_t p = threadIdx.x % kLanes; p < length; p += kLanes) total = total + row[p];
    shared[i * kLanes + threadIdx.x % kLanes] = total;
  }
  __syncthreads();
  if (threadIdx.x < n) group.sum[threadIdx.x] = sum_lanes(shared + threadIdx.x * kLanes);
  __syncthreads();
  if (cache.format == KvFormat::fp16) return;
  for (uint32_t p = threadIdx.x; p < length; p += blockDim.x) {
    const Slot at(cache, blocks, kv_head, heads.dim, p);
    for (uint32_t i = 0; i < n; ++i) {
      float& weight = scores[size_t{i} * ld + p];
      weight = weight * at.value_scale[at.slot];
    }
  }
  __syncthreads();
}

// out [n, n_heads, dim] of every token. Blocks [tokens, key heads]; scores [n, n_heads, ld_scores].
__global__ void __launch_bounds__(kAttentionThreads)
    attend(const float* qkv, Heads heads, Cache cache, Places places, float* scores,
           uint32_t ld_scores, float* out) {
  __shared__ Group group;
  __shared__ float shared[kAttentionThreads];
  const uint32_t t = blockIdx.x;
  const uint32_t kv_head = blockIdx.y;
  const uint32_t dim = heads.dim;
  // Blocks that the window hides are as if they were not there.
  const uint32_t seen = places.position[t] + 1;
  const uint32_t first_position = kernels::first_seen(seen, heads.window);
  const uint32_t hidden_blocks = first_position / kPositions;
  const uint32_t hidden = first_position % kPositions;
  const uint32_t length = seen - hidden_blocks * kPositions;
  const uint32_t* blocks = blocks_of(places, t) + hidden_blocks;
  const uint32_t per_key = heads.n_heads / heads.n_kv_heads;
  for (uint32_t from = 0; from < per_key; from += kMaxGroup) {
    const uint32_t first = kv_head * per_key + from;
    const uint32_t n = per_key - from < kMaxGroup ? per_key - from : kMaxGroup;
    for (uint32_t i = threadIdx.x; i < n * dim; i += blockDim.x) {
      group.q[i / dim][i % dim] = qkv[size_t{t} * heads.ld + (first + i / dim) * dim + i % dim];
    }
    __syncthreads();
    if (cache.format == KvFormat::int8 && threadIdx.x < n) {
      const float* q = group.q[threadIdx.x];
      const Quantizer quantize(absmax(q, dim));
      group.q_scale[threadIdx.x] = quantize.scale;
      for (uint32_t g = 0; g < (dim + 3) / 4; ++g) {
        uint32_t packed = 0;
        for (uint32_t j = 0; j < 4; ++j) {
          const int v = g * 4 + j < dim ? quantize(q[g * 4 + j]) : 0;
          packed |= (static_cast<uint32_t>(v) & 0xFFU) << (8 * j);
        }
        group.q8[threadIdx.x][g] = packed;
      }
    }
    __syncthreads();
    float* rows = scores + (size_t{t} * heads.n_heads + first) * ld_scores;
    for (uint32_t p = threadIdx.x; p < length; p += blockDim.x) {
      score_position(Slot(cache, blocks, kv_head, dim, p), cache.format, dim, group, n, rows,
                     ld_scores, p);
    }
    __syncthreads();
    cap_and_hide(heads, n, length, hidden, rows, ld_scores);
    soften(cache, heads, blocks, kv_head, length, group, n, rows, ld_scores, shared);
    for (uint32_t index = threadIdx.x; index < n * dim; index += blockDim.x) {
      const uint32_t i = index / dim;
      const uint32_t d = index % dim;
      const float* weights = rows + size_t{i} * ld_scores;
      float mixed = 0.0F;
      for (uint32_t p = 0; p < length; ++p) {
        const Slot at(cache, blocks, kv_head, dim, p);
        const uint32_t v = at.slot * at.width + d;
        const float value = cache.format == KvFormat::fp16
                                ? from_half(reinterpret_cast<const uint16_t*>(at.values)[v])
                                : static_cast<float>(reinterpret_cast<const int8_t*>(at.values)[v]);
        mixed = __fmaf_rn(weights[p], value, mixed);
      }
      out[(size_t{t} * heads.n_heads + first + i) * dim + d] =
          mixed * __fdiv_rn(1.0F, group.sum[i]);
    }
    __syncthreads();
  }
}

}  // namespace tristill::cuda
