#include "train/quant/twn.h"

#include <cmath>
#include <stdexcept>

#include "train/device/ops.h"

namespace tristill::train {
namespace {

constexpr double kThreshold = 0.7;  // of the mean

// In ATen, for devices that device::takes. A weight that is not finite gives a scale that is not.
TernaryMatrix ternarize_on_device(const torch::Tensor& latent) {
  const torch::Tensor size = latent.detach().abs();
  const torch::Tensor kept = size.gt(size.mean().mul_(kThreshold));
  const torch::Tensor count = kept.sum(at::kFloat).clamp_min_(1.0);
  TernaryMatrix out;
  out.values = (latent.detach().sign() * kept).to(at::kChar);
  out.scale = (size * kept).sum().div_(count).reshape({1});
  return out;
}

}  // namespace

TernaryMatrix Twn::ternarize(const torch::Tensor& latent,
                             const torch::Tensor& /*log_scale*/) const {
  if (device::takes(latent)) return ternarize_on_device(latent);
  const torch::Tensor w = latent.detach().contiguous();
  const int64_t n = w.numel();
  const auto* from = w.data_ptr<float>();
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += std::fabs(static_cast<double>(from[i]));
  if (!std::isfinite(sum)) throw std::domain_error("twn: a weight is not finite");
  const double threshold = kThreshold * sum / static_cast<double>(n);

  TernaryMatrix out;
  out.values = at::empty(w.sizes(), at::kChar);
  auto* values = out.values.data_ptr<int8_t>();
  double kept = 0;
  int64_t n_kept = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double weight = from[i];
    const bool keep = std::fabs(weight) > threshold;
    values[i] = static_cast<int8_t>(keep ? (weight > 0) - (weight < 0) : 0);
    kept += keep ? std::fabs(weight) : 0;
    n_kept += keep;
  }
  const double scale = n_kept > 0 ? kept / static_cast<double>(n_kept) : 0;
  out.scale = at::full({1}, static_cast<float>(scale), at::kFloat);
  return out;
}

}  // namespace tristill::train
