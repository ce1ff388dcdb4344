// KvCache: keys and values of all sequences in blocks of kKvBlockTokens positions. A block belongs
// to whoever acquired it, and may be shared: it is free again after as many releases as acquires.
// One thread (the engine's) acquires, releases and copies; kernels' threads read and write the
// contents. A block is [layer][kv head][kernels::kv_head_bytes].
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "model/config.h"
#include "model/huge_pages.h"
#include "model/kernels/kernels.h"

namespace tristill {

using kernels::KvFormat;
constexpr uint32_t kKvBlockTokens = kernels::kKvPositions;
using KvBlockId = uint32_t;

constexpr uint32_t kv_blocks_for(uint32_t tokens) {
  return tokens / kKvBlockTokens + (tokens % kKvBlockTokens != 0 ? 1 : 0);
}
uint64_t kv_block_bytes(const ModelConfig& config, KvFormat format = KvFormat::fp16);

class KvCache {
 public:
  // Memory is reserved now and used when written. Throws std::bad_alloc.
  KvCache(const ModelConfig& config, uint32_t n_blocks, KvFormat format = KvFormat::fp16);

  KvFormat format() const { return format_; }
  uint64_t block_bytes() const { return block_bytes_; }
  uint32_t n_blocks() const { return static_cast<uint32_t>(references_.size()); }
  uint32_t n_free() const { return static_cast<uint32_t>(free_.size()); }

  KvBlockId acquire();           // CHECKs that one is free
  void share(KvBlockId block);   // one release more
  void release(KvBlockId block);
  uint32_t n_holders(KvBlockId block) const { return references_[block]; }

  void copy(KvBlockId from, KvBlockId to);  // the contents
  std::span<uint8_t> contents(KvBlockId block);

  // One head's keys and values in a sequence's blocks.
  kernels::KvHead head(uint32_t layer, uint32_t kv_head, const KvBlockId* blocks) const {
    return {format_, memory_.data() + (layer * n_kv_heads_ + kv_head) * head_bytes_, block_bytes_,
            blocks, head_dim_};
  }

 private:
  KvFormat format_;
  size_t n_kv_heads_;
  size_t head_dim_;
  size_t head_bytes_;
  size_t block_bytes_;
  HugePages memory_;
  std::vector<uint32_t> references_;  // one a block
  std::vector<KvBlockId> free_;
};

}  // namespace tristill
