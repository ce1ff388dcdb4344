#include "train/device/ops.h"

namespace tristill::train::device {

using torch::Tensor;

QuantizedTokens quantize_tokens(const Tensor& x, float limit) {
  const Tensor most = x.abs().amax(1);
  const Tensor limits = at::full_like(most, limit);
  const Tensor none = at::zeros_like(most);
  Tensor inverse = limits / most;
  // Infinite: a token of zeros, or as good as zeros. A NaN stays, and makes the scale one.
  const Tensor empty = inverse.isinf();
  inverse = at::where(empty, none, inverse);
  const Tensor scale = at::where(empty, none, most / limits);
  const Tensor values = (x * inverse.unsqueeze(1)).clamp_(-limit, limit).round_().to(at::kChar);
  return {values, scale, {}};
}

TernaryMatrix ternarize(const Tensor& latent) {
  const Tensor w = latent.detach();
  const Tensor sum = w.abs().sum(at::kDouble);
  TernaryMatrix out;
  out.scale = (sum / static_cast<double>(w.numel())).to(at::kFloat).reshape({1});
  // Of zeros alone every ratio is 0 / 0, which is neither: T = 0.
  const Tensor ratio = w / out.scale;
  out.values = ratio.gt(0.5).to(at::kChar).sub_(ratio.lt(-0.5).to(at::kChar));
  return out;
}

Tensor dead_sums(const Tensor& latent, const Tensor& values) {
  return latent.detach().masked_fill(values.ne(0), 0.0).sum(1, /*keepdim=*/false, at::kDouble);
}

}  // namespace tristill::train::device
