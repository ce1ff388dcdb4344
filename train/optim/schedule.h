// Multipliers of the learning rate and of weight decay over a run. Pure; any thread.
//   wsd        linear warm-up, constant, linear warm-down to 0
//   cosine     linear warm-up, then f + (1 - f) (1 + cos(pi p)) / 2, p the share after the warm-up
//   two_stage  linear warm-up, then the line 1 - p; from half of the budget the line s (1 - p), so
//              that the rate drops there (BitNet b1.58 training tips, Microsoft 2024)
// f is lr_floor, s second_peak; shares are of the budget. Weight decay is constant, or with
// two_stage ends at half of the budget (same source).
#pragma once

#include "train/job/optimizer_spec.h"

namespace tristill::train {

// progress in [0, 1]: share of the budget used. A step's worth of warm-up (step_share) is given at
// progress 0, so that the first step moves.
double schedule_multiplier(const job::OptimizerSpec& spec, double progress, double step_share);

double decay_multiplier(const job::OptimizerSpec& spec, double progress);

}  // namespace tristill::train
