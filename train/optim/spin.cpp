#include "train/optim/spin.h"

#include "train/optim/random_draws.h"

namespace tristill::train {

void spin_step(torch::Tensor& weight, torch::Tensor& inertia, const torch::Tensor& grad,
               const SpinRate& rate, uint64_t seed) {
  inertia.mul_(rate.momentum).add_(grad.sign(), 1.0 - rate.momentum);
  const torch::Tensor spin = inertia.sign();
  weight.add_(spin, -rate.lr);
  const torch::Tensor size = weight.abs();
  const torch::Tensor dead =
      rate.absolute ? size.lt(rate.threshold) : size.lt(rate.threshold * size.mean());
  // The random sign is the direction itself, so it is added where a spin is followed downhill.
  const torch::Tensor kick = sign_or_random(spin.neg(), seed);
  weight.add_(kick * dead.to(weight.scalar_type()), rate.lr * rate.tunnel);
}

}  // namespace tristill::train
