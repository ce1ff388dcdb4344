// Ternary weights by a learned scale a matrix: the common form of lsq.h and seq.h. With alpha the
// latent's unit, n levels to it and a clip just inside or at it,
//   v = W / alpha,  T = round(n clip(v, -c, c)),  W^ = alpha T / n = scale T
//   dW^/dW     = 1 where |v| <= c, else 0                     straight through the rounding
//   dW^/dalpha = T / n - v where |v| <= c, else T / n         Esser et al. 2020, eq. 3
// times the factor 1 / sqrt(numel Qp), Qp = 1, that balances a scale's step with its weights'
// (the same, section 2.2).
//
// The parameter is ln scale, scale = alpha / n, so that its gradient is alpha dL/dalpha. AdamW
// moves every parameter by its rate, however small its gradient: a scale of 0.02 that moves by
// 0.003 a step would be noise; its logarithm makes that 0.3 per cent, and keeps it above zero. It
// starts at ln mean |W|, where T and the scale are absmean's. Trainer's thread only.
#pragma once

#include "train/quant/ternary_rule.h"

namespace tristill::train {

// T of a form is never 0 at its clip: n c > 1/2.
struct LearnedScaleForm {
  float levels;  // n
  float clip;  // c
};

class LearnedScale : public TernaryRule {
 public:
  explicit LearnedScale(LearnedScaleForm form) : form_(form) {}

  bool learns_scale() const override { return true; }
  TernaryMatrix ternarize(const torch::Tensor& latent,
                          const torch::Tensor& log_scale) const override;
  LatentGradients backward(const torch::Tensor& latent, const torch::Tensor& log_scale,
                           const TernaryMatrix& matrix,
                           const MatrixGradients& gradients) const override;
  double clipped_share(const torch::Tensor& latent, const torch::Tensor& log_scale) const override;

 private:
  LearnedScaleForm form_;
};

}  // namespace tristill::train
