// TWN, ternary weight networks (Li, Zhang, Liu 2016, arXiv 1605.04711, eqs. 5-6): the threshold and
// the scale that are nearest to W in the square, for weights that are spread evenly or normally,
//   delta = 0.7 mean |W|,  T = sign(W) where |W| > delta, else 0
//   alpha = mean of |W| over |W| > delta,  W^ = alpha T
//   dL/dW = dL/dW^                        straight through; delta and alpha detached
// More zeros than absmean's half of a mean gives, and a larger scale. Sums in fp64 in index order.
// Trainer's thread only.
#pragma once

#include "train/quant/ternary_rule.h"

namespace tristill::train {

class Twn : public StraightThrough {
 public:
  TernaryMatrix ternarize(const torch::Tensor& latent,
                          const torch::Tensor& log_scale) const override;
};

}  // namespace tristill::train
