// What the next step computes: pure decisions, no state, no side effects. Any thread.
// First come, first served; sequences that generate before those that read their prompt; a prompt
// is read in parts when it does not fit a step.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tristill::engine {

// A sequence with its place in the batch and the cache.
struct RunningNeed {
  uint32_t missing_tokens;  // known but not computed; 1 while generating
};

// A sequence that waits for a place.
struct WaitingNeed {
  uint32_t missing_tokens;
  uint32_t blocks;  // of the cache, for all it may ever compute: once in, it never starves
};

struct StepLimits {
  uint32_t step_tokens;    // at least 1
  uint32_t max_sequences;  // at least 1
  uint32_t free_blocks;    // neither used nor promised
  uint64_t step = 0;       // its number: who comes first when not all fit
};

struct StepPlan {
  uint32_t n_admitted = 0;       // from the front of the queue
  std::vector<uint32_t> grants;  // tokens for each running sequence, then for each admitted one
};

StepPlan plan_step(std::span<const RunningNeed> running, std::span<const WaitingNeed> waiting,
                   const StepLimits& limits);

}  // namespace tristill::engine
