// EngineWatch: whether the engines move: one that has work and makes no step is dead, whatever the
// HTTP threads still answer. Ask it regularly. Any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <span>
#include <string>

#include "server/models/registry.h"

namespace tristill::ops {

class EngineWatch {
 public:
  using Clock = std::chrono::steady_clock;

  // patience: how long a step may take; zero: for ever.
  explicit EngineWatch(std::chrono::milliseconds patience) : patience_(patience) {}

  // False when a model had work at every question since patience ago, and made no step.
  bool alive(std::span<const models::ModelTotals> models, Clock::time_point now);

 private:
  struct Seen {
    bool busy = false;
    uint64_t steps = 0;
    Clock::time_point moved;
  };
  const std::chrono::milliseconds patience_;
  std::mutex mutex_;  // guards seen_
  std::map<std::string, Seen> seen_;
};

}  // namespace tristill::ops
