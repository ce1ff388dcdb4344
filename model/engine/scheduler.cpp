#include "model/engine/scheduler.h"

#include <algorithm>

namespace tristill::engine {
namespace {

uint32_t blocks_for(uint32_t tokens, uint32_t block_tokens) {
  return (tokens + block_tokens - 1) / block_tokens;
}

// Blocks that a sequence needs beyond those it holds.
uint32_t new_blocks(const RunningNeed& need, const Grant& grant, uint32_t block_tokens) {
  const uint32_t total =
      blocks_for(need.computed_tokens + grant.tokens + grant.drafts, block_tokens);
  return total > need.held_blocks ? total - need.held_blocks : 0;
}

// Tokens for the sequences, in order of rank; missing[i] and drafts[i] are what they could use.
std::vector<Grant> grant_tokens(std::span<const RunningNeed> needs, const StepLimits& limits) {
  const size_t n = needs.size();
  std::vector<Grant> grants(n);
  uint32_t budget = limits.step_tokens;
  bool generating = false;
  // Turn about, so that none starves when a step is smaller than the number of sequences.
  for (size_t i = 0; i < n && budget > 0; ++i) {
    const size_t at = (i + limits.step) % n;
    if (needs[at].missing_tokens != 1) continue;
    grants[at].tokens = 1;
    generating = true;
    --budget;
  }
  uint32_t prefill = generating ? std::min(budget, limits.prefill_tokens) : budget;
  for (size_t at = 0; at < n && prefill > 0; ++at) {
    if (needs[at].missing_tokens <= 1) continue;
    grants[at].tokens = std::min(needs[at].missing_tokens, prefill);
    prefill -= grants[at].tokens;
    budget -= grants[at].tokens;
  }
  for (size_t at = 0; at < n && budget > 0; ++at) {
    if (grants[at].tokens == 0 || needs[at].missing_tokens != 1) continue;
    grants[at].drafts = std::min(needs[at].draft_tokens, budget);
    budget -= grants[at].drafts;
  }
  return grants;
}

uint32_t total_new_blocks(std::span<const RunningNeed> needs, std::span<const Grant> grants,
                          uint32_t block_tokens) {
  uint32_t total = 0;
  for (size_t i = 0; i < needs.size(); ++i) total += new_blocks(needs[i], grants[i], block_tokens);
  return total;
}

// Until the rest fits. The first in rank stays: the cache holds any one sequence.
uint32_t count_preempted(std::span<const RunningNeed> running, const StepLimits& limits) {
  uint32_t n = 0;
  uint32_t free_blocks = limits.free_blocks;
  while (running.size() > 1) {
    const auto grants = grant_tokens(running, limits);
    if (total_new_blocks(running, grants, limits.block_tokens) <= free_blocks) break;
    free_blocks += running.back().own_blocks;
    running = running.first(running.size() - 1);
    ++n;
  }
  return n;
}

uint32_t count_admissible(size_t n_running, std::span<const WaitingNeed> waiting,
                          uint32_t free_blocks, uint32_t max_sequences) {
  uint32_t n = 0;
  for (const WaitingNeed& need : waiting) {
    if (n_running + n >= max_sequences || need.blocks > free_blocks) break;
    free_blocks -= need.blocks;
    ++n;
  }
  return n;
}

}  // namespace

StepPlan plan_step(std::span<const RunningNeed> running, std::span<const WaitingNeed> waiting,
                   const StepLimits& limits) {
  StepPlan plan;
  plan.n_preempted = count_preempted(running, limits);
  const auto staying = running.first(running.size() - plan.n_preempted);
  std::vector<RunningNeed> needs(staying.begin(), staying.end());
  if (plan.n_preempted == 0) {
    const uint32_t used = total_new_blocks(needs, grant_tokens(needs, limits), limits.block_tokens);
    // One more for each that runs: admitting must not make the next step preempt.
    const auto reserve = used + static_cast<uint32_t>(needs.size());
    const uint32_t free_blocks = limits.free_blocks - std::min(limits.free_blocks, reserve);
    plan.n_admitted = count_admissible(needs.size(), waiting, free_blocks, limits.max_sequences);
    for (uint32_t i = 0; i < plan.n_admitted; ++i) {
      needs.push_back({.missing_tokens = waiting[i].missing_tokens,
                       .draft_tokens = 0,
                       .computed_tokens = 0,
                       .held_blocks = UINT32_MAX,  // counted above
                       .own_blocks = 0});
    }
  }
  plan.grants = grant_tokens(needs, limits);
  plan.grants.insert(plan.grants.begin() + static_cast<std::ptrdiff_t>(staying.size()),
                     plan.n_preempted, Grant{});
  return plan;
}

}  // namespace tristill::engine
