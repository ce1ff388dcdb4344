#include "model/kv_cache.h"

#include <algorithm>
#include <new>

#include "base/check.h"

namespace tristill {
namespace {

size_t reserved_bytes(uint64_t block_bytes, uint32_t n_blocks) {
  if (block_bytes == 0 || n_blocks > SIZE_MAX / 2 / block_bytes) throw std::bad_alloc();
  return block_bytes * n_blocks;
}

}  // namespace

uint64_t kv_block_bytes(const ModelConfig& config, KvFormat format) {
  return uint64_t{config.n_layers} * config.n_kv_heads *
         kernels::kv_head_bytes(format, config.head_dim);
}

KvCache::KvCache(const ModelConfig& config, uint32_t n_blocks, KvFormat format)
    : format_(format),
      n_kv_heads_(config.n_kv_heads),
      head_dim_(config.head_dim),
      head_bytes_(kernels::kv_head_bytes(format, config.head_dim)),
      block_bytes_(kv_block_bytes(config, format)),
      memory_(reserved_bytes(block_bytes_, n_blocks)),
      references_(n_blocks, 0) {
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

void KvCache::copy(KvBlockId from, KvBlockId to) {
  const auto source = contents(from);
  std::copy(source.begin(), source.end(), contents(to).begin());
}

std::span<uint8_t> KvCache::contents(KvBlockId block) {
  CHECK(block < references_.size());
  return {memory_.data() + block * block_bytes_, block_bytes_};
}

}  // namespace tristill
