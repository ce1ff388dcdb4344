// Health of ternary training: what the weights do between looks, and alarms for the ways a run is
// known to die. One pass over the latents a look. Trainer's thread only.
//
//   zero_fraction   share of T = 0; a statistic of shape, about 1/3 when trained
//   flip_rate       share of ternary values that changed a step, since the last look
//   gamma           mean over matrices
//   decay_slope     d ln gamma / d step over -lr * wd; at 1 only decay acts on the weights
//   branch_gain     smallest rms of a block's branch over its residual
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "train/student/student.h"

namespace tristill::train {

struct HealthReport {
  std::map<std::string, double> numbers;
  std::vector<std::string> alarms;  // what is wrong and what to change
};

struct HealthInputs {
  int64_t step = 0;
  double decay_per_step =
      0;  // lr * weight_decay of the matrices, summed since the last look / steps
  double zero_gradients = 0;  // share of exactly zero gradient elements
  double loss = 0;
};

class HealthMonitor {
 public:
  HealthReport look(const Student& student, const HealthInputs& inputs);

 private:
  std::vector<torch::Tensor> previous_;  // ternary values at the last look
  std::vector<double> previous_gamma_;
  int64_t previous_step_ = -1;
  int64_t decaying_since_ = -1;  // step since which some matrix only decays
};

}  // namespace tristill::train
