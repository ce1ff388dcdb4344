#include "train/optim/polarized.h"

#include "train/optim/random_draws.h"

namespace tristill::train {

void polarize(torch::Tensor& weight, const PolarizeForce& force, uint64_t seed) {
  const torch::Tensor size = weight.abs();
  const torch::Tensor unit = force.absolute ? at::ones({}, weight.options()) : size.mean();
  const torch::Tensor t = unit * force.target;
  const torch::Tensor inner = size.lt(t / 2);
  const torch::Tensor outer = size.lt(t).logical_and(inner.logical_not());
  const torch::Tensor none = at::zeros({}, weight.options());
  const torch::Tensor push = at::where(inner, 2.0 * force.strength * unit,
                                       at::where(outer, (t - size) * force.strength, none));
  weight.add_(sign_or_random(weight, seed) * push);
}

}  // namespace tristill::train
