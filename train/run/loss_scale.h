// The loss scale of precision fp16 (Micikevicius et al. 2018, "Mixed precision training", section
// 3.2; the rule and its numbers are those of PyTorch's GradScaler). Gradients of fp16 below 6e-8
// are 0, so the loss is multiplied by S before the backward pass and its gradients divided by S
// after it, in fp32:
//   S = 2^16 at first
//   a gradient that is not finite: the step is left out, S <- S / 2
//   2000 steps in a row without one: S <- 2 S
// A power of two changes no bit of a gradient that neither underflows nor overflows.
// Where the loss itself is not finite, or S is down at 1, no scale helps: that is no overflow, and
// the guard of the run's health counts it (train/run/health_guard.h).
// Pure; one thread at a time. Every rank has the same S, because the norm it is told is the same.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"

namespace tristill::train {

class LossScale {
 public:
  static constexpr double kFirst = 65536;
  static constexpr double kMost = 0x1p40;  // far beyond use; keeps S times a loss in fp32's range
  static constexpr int64_t kPatience = 2000;

  // S; of a scale that is not used it is 1 for ever.
  explicit LossScale(bool used) : used_(used), scale_(used ? kFirst : 1) {}

  bool used() const { return used_; }
  double scale() const { return scale_; }
  int64_t skipped_steps() const { return skipped_; }

  // After each step, with its loss and the norm of its gradients. Whether the step was left out
  // because S was too large for it.
  bool count(double loss, double norm);

  // The state, for checkpoints and other ranks. Errors of from_numbers: corrupt.
  static constexpr size_t kNumbers = 3;
  std::vector<double> to_numbers() const;
  Result<void> from_numbers(const std::vector<double>& numbers);

 private:
  bool used_;
  double scale_;
  int64_t good_ = 0;  // steps since S last changed
  int64_t skipped_ = 0;
};

}  // namespace tristill::train
