// Sequence: one generation inside the engine. Belongs to the engine's thread.
#pragma once

#include <memory>
#include <vector>

#include "model/engine/generation.h"
#include "model/kv_cache.h"
#include "model/sampler.h"

namespace tristill::engine {

struct Sequence {
  Sequence(std::shared_ptr<GenerationState> generation, uint32_t output_limit)
      : state(std::move(generation)),
        sampler(state->request.sampling, state->request.prompt),
        tokens(state->request.prompt),
        n_prompt(static_cast<uint32_t>(tokens.size())),
        max_tokens(output_limit),
        n_reserved_blocks(kv_blocks_for(n_prompt + (max_tokens > 0 ? max_tokens - 1 : 0))) {}

  uint32_t n_missing() const { return static_cast<uint32_t>(tokens.size()) - n_computed; }
  uint32_t n_output() const { return static_cast<uint32_t>(tokens.size()) - n_prompt; }
  // Whether the logits at this position are needed: to choose a token, or to score the prompt.
  bool wants_logits(uint32_t position) const {
    if (position + 1 < n_prompt) return state->request.prompt_logprobs;
    return position + 1 == tokens.size() && max_tokens > 0;
  }

  std::shared_ptr<GenerationState> state;
  Sampler sampler;
  std::vector<TokenId> tokens;  // prompt and output
  uint32_t n_prompt;
  uint32_t max_tokens;
  uint32_t n_computed = 0;      // tokens with keys and values in the cache
  uint32_t n_reserved_blocks;   // for all it may compute: the last output token never is
  std::vector<KvBlockId> blocks;
  bool done = false;  // its finish event was sent
};

}  // namespace tristill::engine
