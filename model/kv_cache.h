// KvCache: keys and values of all sequences in blocks of kKvBlockTokens positions. A block belongs
// to whoever acquired it, and may be shared: it is free again after as many releases as acquires.
// One thread (the engine's) acquires and releases; kernels' threads read and write the contents.
// Layout of a block: [layer][kv head][keys, values][position][head_dim], fp32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "model/config.h"

namespace tristill {

constexpr uint32_t kKvBlockTokens = 16;
using KvBlockId = uint32_t;

constexpr uint32_t kv_blocks_for(uint32_t tokens) {
  return tokens / kKvBlockTokens + (tokens % kKvBlockTokens != 0 ? 1 : 0);
}
uint64_t kv_block_bytes(const ModelConfig& config);

class KvCache {
 public:
  // Memory is reserved now and used when written. Throws std::bad_alloc.
  KvCache(const ModelConfig& config, uint32_t n_blocks);

  uint32_t n_blocks() const { return static_cast<uint32_t>(references_.size()); }
  uint32_t n_free() const { return static_cast<uint32_t>(free_.size()); }

  KvBlockId acquire();           // CHECKs that one is free
  void share(KvBlockId block);   // one release more
  void release(KvBlockId block);

  // [kKvBlockTokens, head_dim] of one head.
  float* keys(KvBlockId block, uint32_t layer, uint32_t kv_head) {
    return data_.get() + block * block_floats_ + (layer * n_kv_heads_ + kv_head) * head_floats_;
  }
  float* values(KvBlockId block, uint32_t layer, uint32_t kv_head) {
    return keys(block, layer, kv_head) + head_floats_ / 2;
  }

 private:
  struct Free {
    void operator()(float* data) const;
  };
  size_t n_kv_heads_;
  size_t head_floats_;  // keys and values of one head
  size_t block_floats_;
  std::unique_ptr<float, Free> data_;
  std::vector<uint32_t> references_;  // one a block
  std::vector<KvBlockId> free_;
};

}  // namespace tristill
