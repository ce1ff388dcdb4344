// PhaseClock: when a generation was submitted, first had a place, and gave its first token; so how
// long it took over each phase, and whether that is too long. Plain data; the engine's thread.
#pragma once

#include <chrono>
#include <optional>

#include "model/engine/engine.h"

namespace tristill::engine {

class PhaseClock {
 public:
  using Time = std::chrono::steady_clock::time_point;

  explicit PhaseClock(Time submitted) : submitted_(submitted) {}

  // Later calls change nothing: a phase begins once, whatever is preempted.
  void admit(Time now);
  void start_output(Time now);
  bool is_admitted() const { return admitted_.has_value(); }

  // queued_ms, prefill_ms and decode_ms up to now.
  void measure(Time now, TokenEvent& event) const;
  // Past the request's deadline, or longer in a phase than it allows.
  bool is_late(Time now, const GenerationRequest& request) const;

 private:
  Time submitted_;
  std::optional<Time> admitted_, first_output_;
};

}  // namespace tristill::engine
