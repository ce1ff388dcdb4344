#include "server/models/lineage.h"

#include <algorithm>

namespace tristill::models {
namespace {

using engine::EngineStats;

void add_counts(EngineStats& sum, const EngineStats& more) {
  sum.prompt_tokens += more.prompt_tokens;
  sum.cached_prompt_tokens += more.cached_prompt_tokens;
  sum.generated_tokens += more.generated_tokens;
  sum.accepted_draft_tokens += more.accepted_draft_tokens;
  sum.rejected_draft_tokens += more.rejected_draft_tokens;
  sum.cancelled += more.cancelled;
  sum.preempted += more.preempted;
  sum.evicted_blocks += more.evicted_blocks;
  sum.steps += more.steps;
}

void add_state(EngineStats& sum, const EngineStats& more) {
  sum.running += more.running;
  sum.waiting += more.waiting;
  sum.kv_tokens_used += more.kv_tokens_used;
  sum.kv_tokens_total += more.kv_tokens_total;
  sum.kv_tokens_cached += more.kv_tokens_cached;
}

}  // namespace

void Lineage::join(const engine::Engine& engine) {
  const std::lock_guard lock(mutex_);
  living_.push_back(&engine);
}

void Lineage::leave(const engine::Engine& engine) {
  const std::lock_guard lock(mutex_);
  if (std::erase(living_, &engine) > 0) add_counts(past_, engine.stats());
}

EngineStats Lineage::totals() const {
  const std::lock_guard lock(mutex_);
  EngineStats sum = past_;
  for (const engine::Engine* engine : living_) {
    const EngineStats stats = engine->stats();
    add_counts(sum, stats);
    add_state(sum, stats);
  }
  return sum;
}

bool Lineage::idle() const {
  const std::lock_guard lock(mutex_);
  return std::ranges::all_of(living_, [](const auto* engine) { return engine->idle(); });
}

}  // namespace tristill::models
