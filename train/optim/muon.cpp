#include "train/optim/muon.h"

#include <algorithm>
#include <cmath>

#include "train/device/ops.h"
#include "train/optim/ordered_sum.h"

namespace tristill::train {
namespace {

constexpr double kMomentumStart = 0.85;
constexpr double kMomentumEnd = 0.95;
constexpr double kMomentumSteps = 300;

}  // namespace

torch::Tensor orthogonalize(const torch::Tensor& matrix, uint32_t steps, at::ScalarType compute) {
  const bool tall = matrix.size(0) > matrix.size(1);
  torch::Tensor x = tall ? matrix.t() : matrix;
  if (device::takes(matrix)) x = (x / (matrix.norm() + 1e-12)).to(compute);
  else x = (x / (std::sqrt(sum_of_squares(matrix.contiguous())) + 1e-12)).to(compute);
  for (uint32_t i = 0; i < steps; ++i) {
    const torch::Tensor a = at::mm(x, x.t());
    const torch::Tensor b = -4.7750 * a + 2.0315 * at::mm(a, a);
    x = 3.4445 * x + at::mm(b, x);
  }
  x = x.to(at::kFloat);
  return tall ? x.t() : x;
}

double muon_momentum(int64_t step) {
  const double share = std::min(1.0, static_cast<double>(step) / kMomentumSteps);
  return kMomentumStart + (kMomentumEnd - kMomentumStart) * share;
}

void muon_step(torch::Tensor& weight, torch::Tensor& momentum, const torch::Tensor& grad,
               const MuonRate& rate, at::ScalarType compute) {
  momentum.mul_(rate.momentum).add_(grad);
  const torch::Tensor update =
      orthogonalize(grad + rate.momentum * momentum, rate.newton_schulz_steps, compute);
  const double ratio = static_cast<double>(grad.size(0)) / static_cast<double>(grad.size(1));
  weight.add_(update, -rate.lr * std::sqrt(std::max(1.0, ratio)));
}

}  // namespace tristill::train
