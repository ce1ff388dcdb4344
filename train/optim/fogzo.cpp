#include "train/optim/fogzo.h"

#include <cmath>

#include "base/check.h"
#include "base/random.h"
#include "train/optim/random_draws.h"

namespace tristill::train {

GuidedProbe::GuidedProbe(const std::vector<Matrix>& matrices, double norm, double beta,
                         uint64_t seed) {
  CHECK(norm > 0 && beta > 0 && beta <= 1);
  const torch::NoGradGuard no_grad;
  constexpr uint64_t kSignStream = 1;
  const double sign = philox_uniform(seed, kSignStream, 0) < 0.5 ? -1.0 : 1.0;
  for (const Matrix& matrix : matrices) {
    Direction direction{matrix.weight, matrix.weight.detach().clone(), {}, 0};
    direction.u = matrix.weight.grad() * (std::sqrt(beta) * sign / norm);
    if (beta < 1) {
      constexpr uint64_t kNoiseStream = 2;
      const auto words = philox(seed, kNoiseStream, matrix.place);
      const uint64_t own = static_cast<uint64_t>(words[0]) << 32U | words[1];
      direction.u.add_(random_uniforms(matrix.weight, own), std::sqrt(1.0 - beta));
    }
    direction.reach = direction.before.abs().mean().item<double>() / std::sqrt(12.0);
    directions_.push_back(std::move(direction));
  }
}

void GuidedProbe::move_to(int side) {
  const torch::NoGradGuard no_grad;
  for (Direction& direction : directions_) {
    direction.weight.copy_(direction.before);
    if (side != 0) direction.weight.add_(direction.u, side * direction.reach);
  }
}

void GuidedProbe::give_gradients(double up, double down) {
  const torch::NoGradGuard no_grad;
  for (Direction& direction : directions_) {
    if (direction.reach <= 0) continue;  // a matrix of zeros, which nothing moved
    direction.weight.mutable_grad() = direction.u * ((up - down) / (2.0 * direction.reach));
  }
}

}  // namespace tristill::train
