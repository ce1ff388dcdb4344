// Health of ternary training: what the weights do between looks, and alarms for the ways a run is
// known to die. One pass over the latents a look. Judges one look at a time, but for the streak of
// decay_only; how long an alarm must stand is train/run/health_guard's. Trainer's thread only.
//
//   zero_fraction      share of T = 0; a statistic of shape, about 1/3 when trained
//   flip_rate          share of ternary values that changed a step, since the last look
//   flip_rate_expected 0.588 theta / sqrt(steps): Gaussian latents, thresholds at 0.399 sigma,
//                      theta the intended update over rms(W), steps in no common direction
//   gamma              mean over matrices
//   std_min, std_median  of the latents, over matrices; T is blind to them
//   decay_slope        d ln mean|W| / d step over -lr * wd; at 1 only decay acts on the weights
//   zero_gradients     share of exactly zero gradients; clipped: of those that the rule of learned
//                      scales (train/quant) makes zero, which alarm nobody
//   branch_gain        smallest rms of a block's branch over its residual
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "train/job/health_file.h"
#include "train/job/optimizer_spec.h"
#include "train/student/student.h"

namespace tristill::train {

struct HealthReport {
  std::map<std::string, double> numbers;
  std::vector<job::HealthAlarm> alarms;
  std::vector<job::MatrixHealth> matrices;
  bool suspicious = false;  // something may become an alarm: no state to come back to
};

struct HealthInputs {
  int64_t step = 0;
  // lr * weight_decay of the matrices, mean of the steps since the last look
  double decay_per_step = 0;
  double zero_gradients = 0;  // share of exactly zero gradient elements
  double loss = 0;
  job::OptimizerKind kind = job::OptimizerKind::muon;
  double lr = 0;  // of the matrices, mean since the last look; 0: nothing is expected of the flips
};

class HealthMonitor {
 public:
  HealthReport look(const Student& student, const HealthInputs& inputs);

 private:
  struct Matrix {
    torch::Tensor values;  // T at the last look
    double size = 0, size_before = 0;  // mean |W| at the last look, and at the one before
    int64_t decaying_since = -1;  // step since which it only decays
  };
  struct Flips;
  static double shrinkage(const Matrix& memory);
  void look_at(const LinearWeight& weight, Matrix& memory, const HealthInputs& inputs,
               job::MatrixHealth& found, Flips& flips) const;
  void judge_decay(const HealthInputs& inputs, HealthReport& report) const;

  std::vector<Matrix> memory_;
  int64_t previous_step_ = -1;
};

}  // namespace tristill::train
