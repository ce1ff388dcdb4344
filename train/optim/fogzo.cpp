#include "train/optim/fogzo.h"

#include <cmath>
#include <numeric>

#include "base/check.h"
#include "base/random.h"
#include "train/optim/random_draws.h"

namespace tristill::train {

double probe_reach(const torch::Tensor& weight) {
  const torch::NoGradGuard no_grad;
  const torch::Tensor rows = weight.abs().sum(1).to(at::kDouble).cpu();
  const auto* sums = rows.data_ptr<double>();
  const double total = std::accumulate(sums, sums + rows.numel(), 0.0);
  return total / static_cast<double>(weight.numel()) / std::sqrt(12.0);
}

GuidedProbe::GuidedProbe(const std::vector<Matrix>& matrices, double norm, double beta,
                         uint64_t seed) {
  CHECK(norm > 0 && beta > 0 && beta <= 1);
  const torch::NoGradGuard no_grad;
  constexpr uint64_t kSignStream = 1;
  const double sign = philox_uniform(seed, kSignStream, 0) < 0.5 ? -1.0 : 1.0;
  for (const Matrix& matrix : matrices) {
    const double reach = probe_reach(matrix.weight);
    Direction direction{matrix.weight, matrix.weight.detach().clone(), {}, reach};
    direction.u = matrix.weight.grad() * (std::sqrt(beta) * sign * reach / norm);
    if (beta < 1) {
      constexpr uint64_t kNoiseStream = 2;
      const auto words = philox(seed, kNoiseStream, matrix.place);
      const uint64_t own = static_cast<uint64_t>(words[0]) << 32U | words[1];
      direction.u.add_(random_uniforms(matrix.weight, own), std::sqrt(1.0 - beta));
    }
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
