// Spin solver: signs of gradients with momentum, and tunnelling through the dead zone of T = 0.
// After distillix's BitNetSpinSolver, where an inertia of signs (its hysteresis) keeps a spin
// until several gradients ask otherwise. An ablation: it never settles, as |dW| = lr always.
//   m <- mu m + (1 - mu) sign(G);   u = sign(m), or sign(G) where mu = 0
//   W <- W - lr u;   where |W| < threshold:  W <- W - lr tunnel u   (a random sign where u = 0)
// threshold is in units of gamma = mean|W|: at 0.5 the dead zone is exactly where absmean's T = 0;
// where that of other rules of quantisation is 0 it does not know. In absolute form, as its authors
// wrote it (0.05), all of a layer drawn at std 0.02 is inside: the rule is then sign descent at
// (1 + tunnel) lr until |W| passes it. Trainer's thread only.
#pragma once

#include <torch/types.h>

#include <cstdint>

namespace tristill::train {

struct SpinRate {
  double lr = 1e-3;
  double momentum = 0.9;
  double threshold = 0.5;
  double tunnel = 2.0;
  bool absolute = false;
};

// Moves weight and its inertia m; seed is for the random signs of this step.
void spin_step(torch::Tensor& weight, torch::Tensor& inertia, const torch::Tensor& grad,
               const SpinRate& rate, uint64_t seed);

}  // namespace tristill::train
