// Pace: what an engine does of late: what its steps cost, how much of a prompt it has to compute,
// how long outputs become. Exponentially weighted means of what was observed; so what runs and
// waits can be turned into outstanding work. Plain data; whoever owns it.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "model/engine/engine.h"
#include "model/engine/wait_estimate.h"

namespace tristill::engine {

// The mean of all values while they are few, of the recent ones then.
class RecentMean {
 public:
  RecentMean(double start, double least_weight) : value_(start), least_weight_(least_weight) {}

  double value() const { return value_; }  // start before there is one
  bool is_empty() const { return n_ == 0; }
  void add(double x);

 private:
  double value_;
  double least_weight_;  // of a new value
  uint32_t n_ = 0;
};

class Pace {
 public:
  // Of an engine on a model of this size, before it has computed anything: as if memory gave
  // 20 GB/s.
  explicit Pace(uint64_t weight_bytes);
  // Steps have been timed: what later ones cost changes this slowly.
  void calibrate(const StepCost& cost);

  struct Step {
    double seconds;
    uint32_t n_turns;          // sequences that could choose a token
    uint32_t n_prompt_tokens;  // computed besides
    uint32_t n_output_tokens;  // chosen
  };
  void observe_step(const Step& step);
  // A prompt of n_tokens was given a place; n_missing of them were not in the cache.
  void observe_prompt(uint32_t n_tokens, uint32_t n_missing);
  // A generation that had a place ended, or was given up.
  void observe_end(uint32_t n_output);

  StepCost cost() const { return cost_; }
  double tokens_per_turn() const { return tokens_per_turn_.value(); }
  // Output in all: max_tokens until generations have ended, then what they had on average.
  double expected_output(const RunningView& view) const;
  // Of a sequence that runs. One that is past the average goes on for a quarter of it.
  OutstandingWork work_left(const RunningView& view) const;
  // Of one that waits.
  OutstandingWork work_ahead(const RunningView& view) const;

 private:
  StepCost cost_;
  uint32_t n_steps_ = 0;
  RecentMean tokens_per_turn_, computed_share_, n_output_;
};

// What runs and waits in an engine, as other threads may know it.
struct Load {
  std::vector<RunningView> running;  // in order of rank
  std::vector<RunningView> waiting;  // in order of turn; they have no place
  Pace pace;
};

// How long one more would wait. cache_tokens: room of the KV cache.
std::chrono::milliseconds predict_wait(const Load& load, const EngineOptions& options,
                                       uint32_t cache_tokens);

}  // namespace tristill::engine
