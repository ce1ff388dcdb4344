#include "model/engine/warm_up.h"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <vector>

#include "model/kv_cache.h"

namespace tristill::engine {
namespace {

constexpr double kMostSeconds = 1.0;
constexpr uint32_t kMostTurns = 16;
constexpr double kLeastShare = 0.01;  // of a step's cost in each of its parts: none is free

// Sequences of n_tokens each, in a block each; a token is chosen after every one.
double time_step(Backend& backend, ThreadTeam& team, uint32_t n_sequences, uint32_t n_tokens,
                 const SecondsNow& now) {
  const std::vector<TokenId> tokens(n_tokens, 0);
  std::vector<KvBlockId> blocks(n_sequences);
  std::iota(blocks.begin(), blocks.end(), 0U);
  std::vector<Segment> batch;
  std::vector<uint32_t> last_rows;
  for (const KvBlockId& block : blocks) {
    batch.push_back({.tokens = tokens, .position = 0, .blocks = {&block, 1}});
    last_rows.push_back(static_cast<uint32_t>(batch.size()) * n_tokens - 1);
  }
  const ThreadTeam::Turn turn(team);
  const double began = now();
  backend.forward(batch);
  backend.greatest(last_rows);
  return now() - began;
}

}  // namespace

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

StepCost time_steps(Backend& backend, ThreadTeam& team, uint32_t n_blocks, uint32_t max_context,
                    const EngineOptions& options, const StepCost& start, const SecondsNow& now) {
  const double until = now() + kMostSeconds;
  const auto best_of_two = [&](uint32_t n_sequences, uint32_t n_tokens) {
    const double first = time_step(backend, team, n_sequences, n_tokens, now);
    if (now() >= until) return first;
    return std::min(first, time_step(backend, team, n_sequences, n_tokens, now));
  };
  const double one = best_of_two(1, 1);
  const double scale = one / (start.fixed_s + start.turn_s);
  StepCost cost{.fixed_s = start.fixed_s * scale,
                .turn_s = start.turn_s * scale,
                .prompt_s = start.prompt_s * scale};
  const uint32_t n_turns = std::min({options.max_sequences, n_blocks, kMostTurns});
  if (n_turns > 1 && now() < until) {
    const double each = (best_of_two(n_turns, 1) - one) / (n_turns - 1);
    cost.turn_s = std::clamp(each, kLeastShare * one, (1 - kLeastShare) * one);
    cost.fixed_s = one - cost.turn_s;
  }
  const uint32_t n_prompt = std::min({kKvBlockTokens, max_context, options.step_tokens});
  if (n_prompt > 1 && now() < until) {
    const double each = (best_of_two(1, n_prompt) - one) / (n_prompt - 1);
    cost.prompt_s = std::max(each, kLeastShare * one);
  }
  return cost;
}

}  // namespace tristill::engine
