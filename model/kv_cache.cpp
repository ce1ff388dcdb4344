#include "model/kv_cache.h"

#include <new>

#include "base/check.h"

namespace tristill {
namespace {

constexpr std::align_val_t kAlignment{64};

}  // namespace

void KvCache::Free::operator()(float* data) const { ::operator delete(data, kAlignment); }

uint64_t kv_block_bytes(const ModelConfig& config) {
  return uint64_t{2} * config.n_layers * config.kv_dim() * kKvBlockTokens * sizeof(float);
}

KvCache::KvCache(const ModelConfig& config, uint32_t n_blocks)
    : n_kv_heads_(config.n_kv_heads),
      head_floats_(size_t{2} * kKvBlockTokens * config.head_dim),
      block_floats_(config.n_layers * n_kv_heads_ * head_floats_),
      references_(n_blocks, 0) {
  const uint64_t block_bytes = kv_block_bytes(config);
  if (block_bytes == 0 || n_blocks > SIZE_MAX / 2 / block_bytes) throw std::bad_alloc();
  data_.reset(static_cast<float*>(::operator new(block_bytes * n_blocks, kAlignment)));
  free_.reserve(n_blocks);
  for (uint32_t b = n_blocks; b > 0; --b) free_.push_back(b - 1);
}

KvBlockId KvCache::acquire() {
  CHECK(!free_.empty());
  const KvBlockId block = free_.back();
  free_.pop_back();
  references_[block] = 1;
  return block;
}

void KvCache::share(KvBlockId block) {
  CHECK(block < references_.size() && references_[block] > 0);
  ++references_[block];
}

void KvCache::release(KvBlockId block) {
  CHECK(block < references_.size() && references_[block] > 0);
  if (--references_[block] == 0) free_.push_back(block);
}

}  // namespace tristill
