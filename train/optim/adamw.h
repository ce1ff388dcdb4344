// AdamW (Loshchilov & Hutter 2019) without its decay, which the optimiser applies to all rules
// alike. betas (0.9, 0.95), eps 1e-10. Trainer's thread only.
//   m <- b1 m + (1 - b1) G;   v <- b2 v + (1 - b2) G^2
//   W <- W - lr * m' / (sqrt(v') + eps),   m' = m / (1 - b1^t), v' = v / (1 - b2^t)
#pragma once

#include <torch/types.h>

#include <cstdint>

namespace tristill::train {

// step is t, from 1.
void adamw_step(torch::Tensor& weight, torch::Tensor& first, torch::Tensor& second,
                const torch::Tensor& grad, double lr, int64_t step);

}  // namespace tristill::train
