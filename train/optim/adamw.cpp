#include "train/optim/adamw.h"

#include <cmath>

namespace tristill::train {
namespace {

constexpr double kBeta1 = 0.9;
constexpr double kBeta2 = 0.95;
constexpr double kEps = 1e-10;

}  // namespace

void adamw_step(torch::Tensor& weight, torch::Tensor& first, torch::Tensor& second,
                const torch::Tensor& grad, double lr, int64_t step) {
  first.mul_(kBeta1).add_(grad, 1.0 - kBeta1);
  second.mul_(kBeta2).addcmul_(grad, grad, 1.0 - kBeta2);
  const double correction1 = 1.0 - std::pow(kBeta1, static_cast<double>(step));
  const double correction2 = 1.0 - std::pow(kBeta2, static_cast<double>(step));
  const torch::Tensor denominator = (second / correction2).sqrt_().add_(kEps);
  weight.addcdiv_(first, denominator, -lr / correction1);
}

}  // namespace tristill::train
