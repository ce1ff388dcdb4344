#include "server/ops/engine_watch.h"

namespace tristill::ops {

bool EngineWatch::alive(std::span<const models::ModelTotals> models, Clock::time_point now) {
  if (patience_.count() == 0) return true;
  const std::lock_guard lock(mutex_);
  bool all_move = true;
  for (const models::ModelTotals& model : models) {
    Seen& seen = seen_[model.name];
    const bool is_busy = model.stats.running + model.stats.waiting > 0;
    const bool stands = is_busy && seen.busy && seen.steps == model.stats.steps;
    if (!stands) seen = {is_busy, model.stats.steps, now};
    if (now - seen.moved > patience_) all_move = false;
  }
  return all_move;
}

}  // namespace tristill::ops
