// When a place will be free for one more sequence: pure arithmetic, no state. Any thread.
// What is outstanding runs as a fluid through steps that cost what they cost of late: sequences
// that generate gain tokens with every step, the first one that still reads its prompt gets what a
// step has for prompts, and whoever ends gives its place to the next. Not a promise: what others
// will generate is not known.
#pragma once

#include <cstdint>
#include <vector>

namespace tristill::engine {

// What a sequence has before it.
struct OutstandingWork {
  double prompt_tokens = 0;  // to compute
  double output_tokens = 0;  // to generate, presumably
};

// Seconds that a step takes: fixed_s + turn_s * (sequences that generate) + prompt_s * (tokens of
// prompts).
struct StepCost {
  double fixed_s = 0;
  double turn_s = 0;
  double prompt_s = 0;
};

struct Outlook {
  std::vector<OutstandingWork> running;  // in order of rank
  std::vector<OutstandingWork> waiting;  // in order of turn
  uint32_t places = 1;                   // sequences that run at once
  uint32_t step_tokens = 1;              // as StepLimits has them
  uint32_t prefill_tokens = 1;
  StepCost cost;
  double tokens_per_turn = 1;  // that a sequence gains in a step: more than one with drafts
};

// Seconds until one that comes after all that wait has a place; 0 when there is room now.
double estimate_wait_s(const Outlook& outlook);

}  // namespace tristill::engine
