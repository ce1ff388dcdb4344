// RMSNorm over the last dimension, and the way back: what rms_norm and norm_rope_heads share. Pure.
//   y = x * r * gain,  r = 1 / sqrt(mean(x^2) + eps)
//   dx = r (dy gain - x r^2 mean(dy gain x)),   dgain = sum of dy x r over all rows
#pragma once

#include <torch/types.h>

#include <utility>

namespace tristill::train::device {

inline torch::Tensor inverse_rms(const torch::Tensor& x, double eps) {
  return x.square().mean(-1, /*keepdim=*/true).add_(eps).sqrt_().reciprocal_();
}

inline torch::Tensor row_norm(const torch::Tensor& x, const torch::Tensor& gain, double eps) {
  return (x * inverse_rms(x, eps)).mul_(gain);
}

// dx, shaped like x, and dgain [d].
inline std::pair<torch::Tensor, torch::Tensor> row_norm_backward(const torch::Tensor& x,
                                                                 const torch::Tensor& gain,
                                                                 double eps,
                                                                 const torch::Tensor& dy) {
  const torch::Tensor r = inverse_rms(x, eps);
  const torch::Tensor normed = x * r;
  const torch::Tensor dgain = (dy * normed).reshape({-1, x.size(-1)}).sum(0);
  torch::Tensor dx = dy * gain;
  const torch::Tensor along = (dx * normed).mean(-1, /*keepdim=*/true);
  dx.sub_(normed * along).mul_(r);
  return {dx, dgain};
}

}  // namespace tristill::train::device
