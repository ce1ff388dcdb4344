#include <torch/csrc/autograd/custom_function.h>

#include <limits>
#include <utility>

#include "train/device/kernel_launch.h"
#include "train/device/ops.h"
#include "train/device/row_norm.h"

namespace tristill::train::device {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

Tensor norm(const Tensor& x, const Tensor& gain, double eps) {
  const KernelLaunch run(x);
  if (!run || !fits_kernels(x)) return row_norm(x, gain, eps);
  Tensor y = at::empty_like(x);
  run(&Kernels::rms_norm, x.data_ptr<float>(), gain.data_ptr<float>(), eps, x.size(0), x.size(1),
      y.data_ptr<float>());
  return y;
}

std::pair<Tensor, Tensor> norm_backward(const Tensor& x, const Tensor& gain, double eps,
                                        const Tensor& dy) {
  const KernelLaunch run(x);
  if (!run || !fits_kernels(x)) return row_norm_backward(x, gain, eps, dy);
  const auto strips = static_cast<int64_t>(norm_strips(static_cast<size_t>(x.size(0))));
  const Tensor from = dy.contiguous();
  Tensor dx = at::empty_like(x);
  const Tensor dgain = at::empty({strips, x.size(1)}, x.options());
  run(&Kernels::rms_norm_backward, x.data_ptr<float>(), gain.data_ptr<float>(), eps,
      from.data_ptr<float>(), x.size(0), x.size(1), dx.data_ptr<float>(), dgain.data_ptr<float>());
  return {dx, dgain.sum(0)};
}

// Keeps x alone: autograd's own would keep each step's result.
void keep(AutogradContext* ctx, const Variable& x, const Variable& gain, double eps) {
  ctx->save_for_backward({x, gain});
  ctx->saved_data["eps"] = eps;
}

variable_list backward_of_kept(AutogradContext* ctx, const variable_list& grads) {
  const auto saved = ctx->get_saved_variables();
  const auto [dx, dgain] =
      norm_backward(saved[0], saved[1], ctx->saved_data["eps"].toDouble(), grads[0]);
  return {dx, dgain, Variable()};
}

struct RmsNorm : torch::autograd::Function<RmsNorm> {
  static Variable forward(AutogradContext* ctx, const Variable& x, const Variable& gain,
                          double eps) {
    keep(ctx, x, gain, eps);
    return norm(x, gain, eps);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    return backward_of_kept(ctx, grads);
  }
};

// The shape of a normed x, without its memory: who reads it reads NaN.
struct UnwrittenNorm : torch::autograd::Function<UnwrittenNorm> {
  static Variable forward(AutogradContext* ctx, const Variable& x, const Variable& gain,
                          double eps) {
    keep(ctx, x, gain, eps);
    return at::full({1, 1}, std::numeric_limits<float>::quiet_NaN(), x.options()).expand(x.sizes());
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    return backward_of_kept(ctx, grads);
  }
};

}  // namespace

Tensor rms_norm(const Tensor& x, const Tensor& gain, double eps) {
  return RmsNorm::apply(x.contiguous(), gain, eps);
}

std::optional<NormedTokens> normed_tokens(const Tensor& x, const Tensor& gain, double eps,
                                          float limit) {
  const Tensor rows = x.contiguous();
  auto tokens = norm_quantize(rows.detach(), gain.detach(), eps, limit);
  if (!tokens) return std::nullopt;
  return NormedTokens{UnwrittenNorm::apply(rows, gain, eps), std::move(*tokens)};
}

}  // namespace tristill::train::device
