// Tequila: weights of the dead zone as a bias (arXiv 2509.23809; AngelSlim's "ultraquantv2", whose
// factor has no gradient). gamma and T are absmean's; with D the weights of a row that became zero,
//   b[r] = lambda sum_{i in D} w[r, i],  y = x (gamma T)^t + b
//   dL/dw = dL/d(gamma T) + lambda sum_t dL/dy[t, r]          the second for weights of D alone
// so that a dead weight, whose sign x hides from its gradient on average, is told what its row
// wants. b costs no product when it is served: a number a row. The sum is taken in fp64 in index
// order. Trainer's thread only.
#pragma once

#include "train/quant/absmean.h"

namespace tristill::train {

class Tequila : public Absmean {
 public:
  explicit Tequila(float lambda) : lambda_(lambda) {}

  TernaryMatrix ternarize(const torch::Tensor& latent,
                          const torch::Tensor& log_scale) const override;
  LatentGradients backward(const torch::Tensor& latent, const torch::Tensor& log_scale,
                           const TernaryMatrix& matrix,
                           const MatrixGradients& gradients) const override;

 private:
  float lambda_;
};

}  // namespace tristill::train
