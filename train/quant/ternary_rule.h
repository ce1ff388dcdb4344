// TernaryRule: how latent weights become a ternary matrix, and how gradients come back through it.
// The seam between LinearWeight, which computes with the matrix, and the methods, a file each:
//   absmean.h   gamma = mean |W|, nothing learned beside W
//   twn.h       a wider dead zone, the scale of least squares
//   lsq.h, seq.h   a learned scale a matrix, by learned_scale.h
//   tequila.h   absmean, and a bias a row of the weights that became zero
// Whatever the rule, what it makes is served as model/ternary.h says: T, one scale, perhaps a bias
// a row. A rule knows no matrix: it is shared by all. Trainer's thread only.
//
// Why one scale a matrix and not one a group of columns: groups of 128 gain a few thousandths of a
// bit a byte (openai/parameter-golf, ternary runs of 2026-03), and would break the exact int32 sum
// of a row into one a group, with a multiplication each, in every kernel that serves.
#pragma once

#include <torch/types.h>

#include <memory>

#include "train/job/quantization_spec.h"

namespace tristill::train {

// W [out, in] as it is computed with: scale T, and bias.
struct TernaryMatrix {
  torch::Tensor values;  // T, [out, in] int8
  torch::Tensor scale;   // [1] fp32
  torch::Tensor bias;    // [out] fp32; undefined: none
};

// What the loss wants of the matrix, of y = x (scale T)^t + bias.
struct MatrixGradients {
  torch::Tensor weight;  // [out, in] fp32, by scale T
  torch::Tensor bias;    // [out] fp32, sum over tokens by y; undefined where there is no bias
};

// What it wants of the parameters.
struct LatentGradients {
  torch::Tensor latent;     // [out, in] fp32
  torch::Tensor log_scale;  // [1] fp32; undefined where no scale is learned
};

class TernaryRule {
 public:
  virtual ~TernaryRule() = default;

  // log_scale [1] fp32 is ln of the scale where that is learned, undefined elsewhere. Latents that
  // are not finite throw std::domain_error.
  virtual bool learns_scale() const { return false; }
  virtual TernaryMatrix ternarize(const torch::Tensor& latent,
                                  const torch::Tensor& log_scale) const = 0;
  virtual LatentGradients backward(const torch::Tensor& latent, const torch::Tensor& log_scale,
                                   const TernaryMatrix& matrix,
                                   const MatrixGradients& gradients) const = 0;
  // Share of the latents that no gradient reaches, by the rule itself.
  virtual double clipped_share(const torch::Tensor& /*latent*/,
                               const torch::Tensor& /*log_scale*/) const {
    return 0;
  }
};

// dL/dW = dL/d(scale T): rounding is passed over, the scale is detached.
class StraightThrough : public TernaryRule {
 public:
  LatentGradients backward(const torch::Tensor& /*latent*/, const torch::Tensor& /*log_scale*/,
                           const TernaryMatrix& /*matrix*/,
                           const MatrixGradients& gradients) const override {
    return {gradients.weight, {}};
  }
};

std::shared_ptr<const TernaryRule> ternary_rule(const job::QuantizationSpec& spec);

}  // namespace tristill::train
