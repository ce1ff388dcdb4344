#include <torch/csrc/autograd/custom_function.h>
#include "train/device/ops.h"

#include "train/device/row_norm.h"

namespace tristill::train::device {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

// Rotates the pairs (x_i, x_{i + half}) of [B, T, H, hd] by the angle of their t, or back.
Tensor rotate(const Tensor& x, const Tensor& cos, const Tensor& sin, bool back) {
  const int64_t tokens = x.size(1);
  const int64_t half = cos.size(1);
  const Tensor c = cos.slice(0, 0, tokens).view({1, tokens, 1, half});
  const Tensor s = sin.slice(0, 0, tokens).view({1, tokens, 1, half});
  const Tensor a = x.slice(3, 0, half);
  const Tensor b = x.slice(3, half, 2 * half);
  if (back) return at::cat({a * c + b * s, b * c - a * s}, 3);
  return at::cat({a * c - b * s, b * c + a * s}, 3);
}

// [B, T, G*R, hd] -> [B*G, T*R, hd], and the way back.
Tensor gather_heads(const Tensor& x, int64_t groups) {
  const int64_t batch = x.size(0), tokens = x.size(1), repeats = x.size(2) / groups;
  return x.view({batch, tokens, groups, repeats, x.size(3)})
      .transpose(1, 2)
      .reshape({batch * groups, tokens * repeats, x.size(3)});
}
Tensor scatter_heads(const Tensor& y, int64_t batch, int64_t groups, int64_t tokens) {
  const int64_t repeats = y.size(1) / tokens;
  return y.reshape({batch, groups, tokens, repeats, y.size(2)})
      .transpose(1, 2)
      .reshape({batch, tokens, groups * repeats, y.size(2)});
}

struct NormRopeHeads : torch::autograd::Function<NormRopeHeads> {
  static Variable forward(AutogradContext* ctx, const Variable& x, const Variable& gain, double eps,
                          const Tensor& cos, const Tensor& sin, int64_t batch, int64_t groups) {
    const int64_t dim = cos.size(1) * 2;
    const Tensor heads = x.view({batch, x.size(0) / batch, x.size(1) / dim, dim});
    const Tensor normed = gain.numel() > 0 ? row_norm(heads, gain, eps) : heads;
    ctx->save_for_backward({x, gain, cos, sin});
    ctx->saved_data["eps"] = eps;
    ctx->saved_data["batch"] = batch;
    ctx->saved_data["groups"] = groups;
    return gather_heads(rotate(normed, cos, sin, /*back=*/false), groups);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &gain = saved[1], &cos = saved[2], &sin = saved[3];
    const int64_t batch = ctx->saved_data["batch"].toInt();
    const int64_t tokens = x.size(0) / batch;
    const Tensor turned = scatter_heads(grads[0], batch, ctx->saved_data["groups"].toInt(), tokens);
    const Tensor back = rotate(turned, cos, sin, /*back=*/true);
    variable_list results(7);
    if (gain.numel() == 0) {
      results[0] = back.view_as(x);
      return results;
    }
    const double eps = ctx->saved_data["eps"].toDouble();
    const auto [dx, dgain] = row_norm_backward(x.view(back.sizes()), gain, eps, back);
    results[0] = dx.view_as(x);
    results[1] = dgain;
    return results;
  }
};

}  // namespace

Tensor norm_rope_heads(const Tensor& x, const Tensor& gain, double eps, const RopeTable& rope,
                       int64_t batch, int64_t groups) {
  const Tensor given = gain.defined() ? gain : at::empty({0}, x.options());
  return NormRopeHeads::apply(x.contiguous(), given, eps, rope.cos, rope.sin, batch, groups);
}

}  // namespace tristill::train::device
