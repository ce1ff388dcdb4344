#include "train/quant/learned_scale.h"

#include <cmath>
#include <stdexcept>

namespace tristill::train {
namespace {

using torch::Tensor;

float scale_of(const Tensor& log_scale) {
  return static_cast<float>(std::exp(static_cast<double>(log_scale.item<float>())));
}

// v = W / alpha.
Tensor in_units(const Tensor& latent, const Tensor& log_scale, float levels) {
  return latent.detach() / (scale_of(log_scale) * levels);
}

}  // namespace

TernaryMatrix LearnedScale::ternarize(const Tensor& latent, const Tensor& log_scale) const {
  const Tensor v = in_units(latent, log_scale, form_.levels);
  if (!at::isfinite(v).all().item<bool>()) {
    throw std::domain_error("a weight over its learned scale is not finite");
  }
  TernaryMatrix out;
  out.values = v.clamp(-form_.clip, form_.clip).mul(form_.levels).round().to(at::kChar);
  out.scale = at::full({1}, scale_of(log_scale), v.options());
  return out;
}

LatentGradients LearnedScale::backward(const Tensor& latent, const Tensor& log_scale,
                                       const TernaryMatrix& matrix,
                                       const MatrixGradients& gradients) const {
  const Tensor v = in_units(latent, log_scale, form_.levels);
  const Tensor inside = v.abs().le(form_.clip);
  const Tensor by_alpha = matrix.values.to(at::kFloat) / form_.levels - v * inside;
  const double alpha = static_cast<double>(scale_of(log_scale) * form_.levels);
  const double factor = alpha / std::sqrt(static_cast<double>(latent.numel()));
  return {gradients.weight * inside, (gradients.weight * by_alpha).sum().mul(factor).reshape({1})};
}

double LearnedScale::clipped_share(const Tensor& latent, const Tensor& log_scale) const {
  const Tensor outside = in_units(latent, log_scale, form_.levels).abs().gt(form_.clip);
  return static_cast<double>(outside.sum().item<int64_t>()) / static_cast<double>(latent.numel());
}

}  // namespace tristill::train
