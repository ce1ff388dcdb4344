// Keys and values into the blocks of a paged cache, as kernels.h lays them out. Included by an ISA
// file after its lanes_*.h.
#pragma once

#include "model/kernels/kernels.h"
#include "model/kernels/vector_elementwise.h"

namespace tristill::kernels {
namespace {

inline uint8_t* block_of(const KvHead& kv, size_t position) {
  return kv.base + kv.blocks[position / kKvPositions] * kv.stride;
}

// The parts of a block.
struct KvBlock {
  uint8_t* keys;
  uint8_t* values;
  float* key_scale;
  float* value_scale;
  KvBlock(const KvHead& kv, size_t position)
      : keys(block_of(kv, position)),
        values(keys + kv_keys_bytes(kv.format, kv.head_dim)),
        key_scale(reinterpret_cast<float*>(values + kv_values_bytes(kv.format, kv.head_dim))),
        value_scale(key_scale + kKvPositions) {}
};

inline void store_halves(const KvHead& kv, size_t position, const float* key, const float* value) {
  const KvBlock block(kv, position);
  const size_t slot = position % kKvPositions;
  auto* keys = reinterpret_cast<uint16_t*>(block.keys) + slot;
  auto* values = reinterpret_cast<uint16_t*>(block.values) + slot * whole_vectors(kv.head_dim);
  const F32 most = splat(65504.0F);
  const F32 least = splat(-65504.0F);
  for (size_t d = 0; d < kv.head_dim; d += 16) {
    const size_t n = left(kv.head_dim, d);
    uint16_t halves[16];
    store_half(halves, min(max(load(key + d, n), least), most));
    for (size_t i = 0; i < n; ++i) keys[(d + i) * kKvPositions] = halves[i];
    store_half(values + d, min(max(load(value + d, n), least), most));
  }
}

inline void store_int8(const KvHead& kv, size_t position, const float* key, const float* value) {
  const KvBlock block(kv, position);
  const size_t slot = position % kKvPositions;
  const Quantizer quantize_key(absmax(key, kv.head_dim));
  const Quantizer quantize_value(absmax(value, kv.head_dim));
  block.key_scale[slot] = quantize_key.scale;
  block.value_scale[slot] = quantize_value.scale;
  auto* values = reinterpret_cast<int8_t*>(block.values) + slot * whole_vectors(kv.head_dim);
  for (size_t d = 0; d < kv.head_dim; d += 16) {
    const size_t n = left(kv.head_dim, d);
    int8_t bytes[16];
    store_bytes(bytes, quantize_key(load(key + d, n)));
    for (size_t i = 0; i < n; i += 4) {
      std::memcpy(block.keys + ((d + i) / 4 * kKvPositions + slot) * 4, bytes + i, 4);
    }
    store_bytes(values + d, quantize_value(load(value + d, n)));
  }
}

void store_kv(const KvHead& kv, size_t position, const float* key, const float* value) {
  if (kv.format == KvFormat::fp16) {
    store_halves(kv, position, key, value);
  } else {
    store_int8(kv, position, key, value);
  }
}

}  // namespace
}  // namespace tristill::kernels
