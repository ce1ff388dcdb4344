#include "train/optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace tristill::train {
namespace {

double after_warmup(const job::OptimizerSpec& spec, double progress) {
  switch (spec.schedule) {
    case job::LrSchedule::wsd:
      return spec.warmdown > 0 ? std::min(1.0, (1.0 - progress) / spec.warmdown) : 1.0;
    case job::LrSchedule::cosine: {
      const double p = spec.warmup < 1 ? (progress - spec.warmup) / (1.0 - spec.warmup) : 0.0;
      const double wave = 0.5 * (1.0 + std::cos(std::numbers::pi * std::clamp(p, 0.0, 1.0)));
      return spec.lr_floor + (1.0 - spec.lr_floor) * wave;
    }
    case job::LrSchedule::two_stage:
      return (progress < 0.5 ? 1.0 : spec.second_peak) * (1.0 - progress);
  }
  return 1.0;
}

}  // namespace

double schedule_multiplier(const job::OptimizerSpec& spec, double progress, double step_share) {
  const double up = spec.warmup > 0 ? (progress + step_share) / spec.warmup : 1.0;
  return std::clamp(std::min(up, after_warmup(spec, progress)), 0.0, 1.0);
}

double decay_multiplier(const job::OptimizerSpec& spec, double progress) {
  const bool ended = spec.weight_decay_schedule == job::WeightDecaySchedule::two_stage;
  return ended && progress >= 0.5 ? 0.0 : 1.0;
}

}  // namespace tristill::train
