#include "train/student/low_rank.h"

#include <utility>

#include "base/check.h"

namespace tristill::train {

using torch::Tensor;

LowRank::LowRank(Tensor a, Tensor b, double scale, at::ScalarType compute)
    : a_(std::move(a)), b_(std::move(b)), scale_(scale), compute_(compute) {
  CHECK(a_.dim() == 2 && b_.dim() == 2 && a_.size(0) == b_.size(1));
  refresh();
}

void LowRank::refresh() {
  a_compute_ = a_.detach().to(compute_);
  b_compute_ = b_.detach().to(compute_);
}

Tensor LowRank::merged(const Tensor& base) const {
  const torch::NoGradGuard no_grad;
  return at::addmm(base.detach(), b_.detach(), a_.detach(), /*beta=*/1, /*alpha=*/scale_);
}

LowRank::Gradients LowRank::backward(const Tensor& dy, const Tensor& x) const {
  const auto scaled = [&](const Tensor& product) { return product.to(at::kFloat).mul_(scale_); };
  return {scaled(at::mm(at::mm(dy, b_compute_).t(), x)),
          scaled(at::mm(dy.t(), at::mm(x, a_compute_.t())))};
}

}  // namespace tristill::train
