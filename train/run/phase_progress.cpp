#include "train/run/phase_progress.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace tristill::train {
namespace {

constexpr double kSecondsBetween = 0.5;

}  // namespace

double PhaseProgress::steady_seconds() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count();
}

PhaseProgress::PhaseProgress(EventLog& events, std::string phase, double total, Seconds now)
    : events_(events),
      phase_(std::move(phase)),
      total_(total),
      now_(std::move(now)),
      started_(now_()),
      told_(started_) {
  tell(started_);
}

void PhaseProgress::add(double work) {
  done_ += work;
  const double seconds = now_();
  if (seconds - told_ >= kSecondsBetween) tell(seconds);
}

void PhaseProgress::tell(double seconds) {
  told_ = seconds;
  job::Event event{.type = job::EventType::progress, .texts = {{"phase", phase_}}};
  event.numbers["fraction"] = total_ > 0 ? std::min(done_ / total_, 1.0) : 0;
  if (done_ > 0 && total_ > 0) {
    event.numbers["eta_seconds"] = (seconds - started_) * std::max(0.0, total_ - done_) / done_;
  }
  events_.write(std::move(event));
}

}  // namespace tristill::train
