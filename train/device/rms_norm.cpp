#include "train/device/ops.h"
#include "train/device/row_norm.h"

namespace tristill::train::device {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

// Keeps x alone: autograd's own would keep each step's result.
struct RmsNorm : torch::autograd::Function<RmsNorm> {
  static Variable forward(AutogradContext* ctx, const Variable& x, const Variable& gain,
                          double eps) {
    ctx->save_for_backward({x, gain});
    ctx->saved_data["eps"] = eps;
    return row_norm(x, gain, eps);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const double eps = ctx->saved_data["eps"].toDouble();
    const auto [dx, dgain] = row_norm_backward(saved[0], saved[1], eps, grads[0]);
    return {dx, dgain, Variable()};
  }
};

}  // namespace

Tensor rms_norm(const Tensor& x, const Tensor& gain, double eps) {
  return RmsNorm::apply(x, gain, eps);
}

}  // namespace tristill::train::device
