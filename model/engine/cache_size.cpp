#include "model/engine/cache_size.h"

#include <algorithm>

#include "model/kv_cache.h"

namespace tristill::engine {
namespace {

constexpr uint64_t kDefaultCacheBytes = uint64_t{1} << 30;

}  // namespace

uint32_t context_limit(const ModelConfig& config, const EngineOptions& options) {
  return options.max_context == 0 ? config.max_context
                                  : std::min(options.max_context, config.max_context);
}

uint32_t count_cache_blocks(const ModelConfig& config, const EngineOptions& options) {
  constexpr uint64_t kMost = UINT32_MAX / kKvBlockTokens;
  uint64_t blocks = kv_blocks_for(options.kv_cache_tokens);
  if (blocks == 0) {
    blocks = uint64_t{kv_blocks_for(context_limit(config, options))} * options.max_sequences;
    blocks = std::min(blocks, kDefaultCacheBytes / kv_block_bytes(config, options.kv_format));
  }
  return static_cast<uint32_t>(std::clamp<uint64_t>(blocks, 1, kMost));
}

}  // namespace tristill::engine
