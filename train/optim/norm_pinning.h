// Norm pinning: the latents' size is held after each step (weight standardisation, per matrix).
//   W <- W * r0 / rms(W),   r0 the rms before the first step
// T does not change by it where its scale is derived of W and goes along (absmean, twn, tequila);
// what remains of a step is an angle, lr / r0. A learned scale (lsq, seq) would stay behind: no new
// job has both. The principled form of any wish to keep std from falling. Trainer's thread only.
#pragma once

#include <torch/types.h>

namespace tristill::train {

inline torch::Tensor root_mean_square(const torch::Tensor& weight) {
  return weight.square().mean().sqrt();
}

// rms: [1] tensor, r0. A matrix of zeros stays.
inline void pin_norm(torch::Tensor& weight, const torch::Tensor& rms) {
  const torch::Tensor now = root_mean_square(weight);
  weight.mul_(at::where(now.gt(0), rms.squeeze() / now, at::ones_like(now)));
}

}  // namespace tristill::train
