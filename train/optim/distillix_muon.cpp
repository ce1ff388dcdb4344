#include "train/optim/distillix_muon.h"

namespace tristill::train {
namespace {

constexpr double kMomentum = 0.95;
constexpr int kSteps = 5;

}  // namespace

torch::Tensor distillix_newton_schulz(const torch::Tensor& matrix) {
  const torch::Tensor norm = matrix.norm();
  torch::Tensor x = matrix / (norm + 1e-7);
  // X (X^t X) = (X X^t) X: the smaller of the two products is taken; its authors took X^t X always.
  const bool tall = matrix.size(0) > matrix.size(1);
  for (int i = 0; i < kSteps; ++i) {
    const torch::Tensor cube = tall ? at::mm(x, at::mm(x.t(), x)) : at::mm(at::mm(x, x.t()), x);
    x = 1.5 * x - 0.5 * cube;
  }
  return x * norm;
}

void distillix_muon_step(torch::Tensor& weight, torch::Tensor& momentum, const torch::Tensor& grad,
                         double lr) {
  momentum.mul_(kMomentum).add_(grad);
  const torch::Tensor first = distillix_newton_schulz(momentum);
  weight.sub_(distillix_newton_schulz(grad + kMomentum * first), lr);
}

}  // namespace tristill::train
