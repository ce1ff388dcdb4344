// A true double well over the latents, with wells at +t and -t: pushed out from zero, and pulled
// back from beyond. The energy is distillix's; unlike its code, this follows the gradient of it.
//   E = kappa (|w| - t)^2;   w <- w - lr * 2 kappa (|w| - t) sign(w)
// t is in units of gamma = mean|W|, or of 1 in absolute form. Relative, t = 1 keeps mean|W| where
// it is; a smaller t shrinks it. The setting strength is 2 lr kappa at the full rate: the share of
// its way to the well that a weight goes each step. Trainer's thread only.
#pragma once

#include <torch/types.h>

namespace tristill::train {

struct WellForce {
  double target = 1.0;
  double share = 0.01;  // of the way, in this step: 2 lr kappa
  bool absolute = false;
};

// A weight at 0 has no side and stays.
void pull_to_wells(torch::Tensor& weight, const WellForce& force);

}  // namespace tristill::train
