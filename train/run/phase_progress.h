// How far one phase of a job is, told to whoever waits: progress events with the share of the
// phase done and the seconds it still needs, by work done against time. At most two a second. The
// clock is for telling only: no result depends on it. Trainer's thread only.
#pragma once

#include <functional>
#include <string>

#include "train/event_log.h"

namespace tristill::train {

class PhaseProgress {
 public:
  using Seconds = std::function<double()>;

  // Tells at once that the phase begins. total: of work, in any unit; 0 when unknown.
  PhaseProgress(EventLog& events, std::string phase, double total, Seconds now = steady_seconds);

  // So much more is done.
  void add(double work);

  static double steady_seconds();

 private:
  void tell(double seconds);

  EventLog& events_;
  std::string phase_;
  double total_, done_ = 0;
  Seconds now_;
  double started_, told_;
};

}  // namespace tristill::train
