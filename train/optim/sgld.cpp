#include "train/optim/sgld.h"

#include <cmath>

#include "train/optim/random_draws.h"

namespace tristill::train {

void sgld_step(torch::Tensor& weight, const torch::Tensor& grad, double lr, double temperature,
               uint64_t seed) {
  weight.add_(grad, -lr);
  const double noise = std::sqrt(2.0 * lr * temperature);
  if (noise > 0) weight.add_(random_normals(weight, seed), noise);
}

}  // namespace tristill::train
