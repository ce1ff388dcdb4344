// How many tokens an engine has room for, by its options and its model. Pure functions: any thread.
#pragma once

#include <cstdint>

#include "model/config.h"
#include "model/engine/engine.h"

namespace tristill::engine {

// Most tokens of one sequence, as far as the cache holds them.
uint32_t context_limit(const ModelConfig& config, const EngineOptions& options);
// Blocks of the KV cache.
uint32_t count_cache_blocks(const ModelConfig& config, const EngineOptions& options);

}  // namespace tristill::engine
