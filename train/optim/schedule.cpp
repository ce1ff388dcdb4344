#include "train/optim/schedule.h"

#include <algorithm>

namespace tristill::train {

double schedule_multiplier(double progress, double warmup, double warmdown, double step_share) {
  const double up = warmup > 0 ? (progress + step_share) / warmup : 1.0;
  const double down = warmdown > 0 ? (1.0 - progress) / warmdown : 1.0;
  return std::clamp(std::min(up, down), 0.0, 1.0);
}

}  // namespace tristill::train
