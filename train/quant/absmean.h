// absmean, the rule of BitNet b1.58 (Ma et al. 2024, eqs. 1-3):
//   gamma = mean |W|,  T = clip(round(W / gamma), -1, 1)
//   dL/dW = dL/d(gamma T)                     straight through; gamma detached
// T does not depend on the size of W, so that nothing needs to hold it. Trainer's thread only.
#pragma once

#include "train/quant/ternary_rule.h"

namespace tristill::train {

class Absmean : public StraightThrough {
 public:
  TernaryMatrix ternarize(const torch::Tensor& latent,
                          const torch::Tensor& log_scale) const override;
};

}  // namespace tristill::train
