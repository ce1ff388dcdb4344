// Learning-rate multiplier over a run: linear warm-up, constant, linear warm-down to zero
// (the shape of the BitNet training tips and of WSD schedules). Pure.
#pragma once

namespace tristill::train {

// progress in [0, 1]: share of the budget used; warmup and warmdown are shares too.
// A step's worth of warm-up is given at progress 0, so that the first step moves.
double schedule_multiplier(double progress, double warmup, double warmdown, double step_share);

}  // namespace tristill::train
