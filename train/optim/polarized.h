// Polarisation: after each step, weights that are small are pushed away from zero. After
// distillix's PolarizedOptimizer. Units are gamma = mean|W|, or 1 in absolute form; target t,
// strength k.
//   |w| < t/2        w <- w + 2 k sign(w)             (a random sign where w = 0)
//   t/2 <= |w| < t   w <- w + k (t - |w|) sign(w)
//   else             w
// No double well: nothing pulls back. In absolute form with its authors' t = 0.01, k = 0.1 one call
// throws a quarter of a fresh layer to 20 times the target, which doubles the share of zeros.
// An ablation. Trainer's thread only.
#pragma once

#include <torch/types.h>

#include <cstdint>

namespace tristill::train {

struct PolarizeForce {
  double target = 1.0;
  double strength = 0.01;
  bool absolute = false;
};

void polarize(torch::Tensor& weight, const PolarizeForce& force, uint64_t seed);

}  // namespace tristill::train
