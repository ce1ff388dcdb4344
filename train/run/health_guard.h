// Guards a run: looks at its health, tells how long an alarm has stood, and when to stop;
// counts what the health file of a checkpoint says. Trainer's thread only.
// Not the measuring (train/health) nor the going back (train/checkpoint).
#pragma once

#include <map>
#include <optional>
#include <string>

#include "train/health.h"
#include "train/job/spec.h"

namespace tristill::train {

class HealthGuard {
 public:
  explicit HealthGuard(const job::TrainSpec& spec) : spec_(spec) {}

  // After each step. lr: of the matrices; decay: lr * weight_decay. Errors: invalid_argument when
  // several steps in a row were not finite and the run is not to be stopped for its health.
  Result<void> count(double loss, double norm, double lr, double decay);

  // How fast the run is, as it was last measured.
  void note_speed(double tokens_per_second) { tokens_per_second_ = tokens_per_second; }

  // Every log_every steps.
  const HealthReport& look(const Student& student, int64_t step, double zero_gradients,
                           double loss);

  // The alarm that the run is to stop for: one that has stood for patience_steps.
  std::optional<job::HealthAlarm> verdict() const;

  // What a checkpoint says, but for step and tokens.
  job::HealthFile file() const;

  // For checkpoints: the counts, and since when which alarms stand, so that a run which is resumed
  // is neither healthier nor more patient than it was. Missing tensors leave them at 0.
  void save_state(std::map<std::string, torch::Tensor>& tensors) const;
  void load_state(const std::map<std::string, torch::Tensor>& tensors);

 private:
  const job::TrainSpec& spec_;
  HealthMonitor monitor_;
  HealthReport report_;
  std::map<std::string, int64_t> standing_;  // alarm -> step of the first look that raised it
  int64_t step_ = 0;  // of the last look
  bool resumed_ = false;  // and has not looked since
  double lr_sum_ = 0, decay_sum_ = 0;  // since the last look
  int64_t counted_ = 0;  // since the last look
  double last_loss_ = 0, last_lr_ = 0, loss_ema_ = 0;
  double last_norm_ = job::kNotYet, tokens_per_second_ = job::kNotYet;
  int64_t steps_ = 0, skipped_ = 0;
  int bad_steps_ = 0;  // in a row
};

}  // namespace tristill::train
