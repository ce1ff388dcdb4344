// One training step of a job on random tokens, timed and weighed; of a job of several ranks, what
// one of them computes with its share of the threads, without what goes between them. Trainer's
// thread only.
#pragma once

#include <torch/types.h>

#include <cstdint>

#include "train/job/spec.h"

namespace tristill::train {

struct StepTrial {
  double setup_seconds = 0;   // drawing the weights
  double step_seconds = 0;    // of the last of the steps
  uint64_t peak_bytes = 0;    // of tensors, on the device; 0 where libtorch does not tell
  uint64_t resident_bytes = 0;  // of this process, after the steps; 0: unknown
  double loss = 0;            // of the last step
  double tokens = 0;          // labelled, a step and rank
};

// rank: which of spec.ranks; what it owns is stepped. Throws what an allocation that fails throws.
StepTrial try_steps(const job::TrainSpec& spec, int steps, torch::Device device = torch::kCPU,
                    int rank = 0);

}  // namespace tristill::train
