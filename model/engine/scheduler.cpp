#include "model/engine/scheduler.h"

#include <algorithm>

namespace tristill::engine {
namespace {

uint32_t count_admissible(size_t n_running, std::span<const WaitingNeed> waiting,
                          const StepLimits& limits) {
  uint32_t free_blocks = limits.free_blocks;
  uint32_t n = 0;
  for (const WaitingNeed& need : waiting) {
    if (n_running + n >= limits.max_sequences || need.blocks > free_blocks) break;
    free_blocks -= need.blocks;
    ++n;
  }
  return n;
}

}  // namespace

StepPlan plan_step(std::span<const RunningNeed> running, std::span<const WaitingNeed> waiting,
                   const StepLimits& limits) {
  StepPlan plan;
  plan.n_admitted = count_admissible(running.size(), waiting, limits);
  std::vector<uint32_t> missing;
  missing.reserve(running.size() + plan.n_admitted);
  for (const RunningNeed& need : running) missing.push_back(need.missing_tokens);
  for (uint32_t i = 0; i < plan.n_admitted; ++i) missing.push_back(waiting[i].missing_tokens);
  const size_t n = missing.size();
  plan.grants.assign(n, 0);
  uint32_t budget = limits.step_tokens;
  // Turn about, so that none starves when a step is smaller than the number of sequences.
  for (size_t i = 0; i < n && budget > 0; ++i) {
    const size_t at = (i + limits.step) % n;
    if (missing[at] != 1) continue;
    plan.grants[at] = 1;
    --budget;
  }
  for (size_t at = 0; at < n && budget > 0; ++at) {
    if (missing[at] <= 1) continue;
    plan.grants[at] = std::min(missing[at], budget);
    budget -= plan.grants[at];
  }
  return plan;
}

}  // namespace tristill::engine
