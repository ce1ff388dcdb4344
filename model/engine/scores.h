// The log-probabilities that events carry, and the events of prompt tokens. The engine's thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/engine/sequence.h"

namespace tristill::engine {

// What the request wants to know of event.token, which stands at `position`, of the logits that led
// to it. Scratch is overwritten. Throws std::runtime_error when the logits are not finite.
void score(const GenerationRequest& request, uint32_t position, std::span<const float> logits,
           std::vector<float>& scratch, TokenEvent& event);

// The prompt's token at `position` with its score, unless that was sent before a preemption. logits
// are those of the position before.
void emit_prompt_token(Sequence& sequence, uint32_t position, std::span<const float> logits,
                       std::vector<float>& scratch);
// The first one, to which no logits lead; where prompt tokens are wanted.
void emit_first_prompt_token(Sequence& sequence);

}  // namespace tristill::engine
