// What the next step computes: pure decisions, no state, no side effects. Any thread.
// Sequences that generate come before those that read their prompt; a prompt is read in parts, and
// in smaller ones while others generate, so that none of them waits long for its next token. A
// sequence is admitted when the cache has room for what it has to compute now; when room runs out
// later, the last in rank gives up its place.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tristill::engine {

// A sequence with its place in the batch and the cache, in order of rank: first the one that gives
// up its place last.
struct RunningNeed {
  uint32_t missing_tokens;  // known but not computed; 1 while generating
  uint32_t draft_tokens;    // that could be verified besides
  uint32_t computed_tokens;
  uint32_t held_blocks;
  uint32_t own_blocks;  // of them, free once it gives up its place
};

// A sequence that waits for a place, in order of turn.
struct WaitingNeed {
  uint32_t missing_tokens;
  uint32_t blocks;  // of the cache, for them and the first token of output
};

struct StepLimits {
  uint32_t step_tokens;     // at least 1
  uint32_t prefill_tokens;  // of prompts in a step in which others generate; at least 1
  uint32_t max_sequences;   // at least 1
  uint32_t free_blocks;     // not used, or used by nobody but the prefix index
  uint32_t block_tokens;    // positions of a block
  uint64_t step = 0;        // its number: who comes first when not all fit
};

struct Grant {
  uint32_t tokens = 0;  // of those that are missing
  uint32_t drafts = 0;
  bool operator==(const Grant&) const = default;
};

struct StepPlan {
  uint32_t n_preempted = 0;   // from the end of the running ones; they are granted nothing
  uint32_t n_admitted = 0;    // from the front of the queue
  std::vector<Grant> grants;  // for each running sequence, then for each admitted one
};

// Some running sequence is granted at least one token unless there is none.
StepPlan plan_step(std::span<const RunningNeed> running, std::span<const WaitingNeed> waiting,
                   const StepLimits& limits);

}  // namespace tristill::engine
