#include "train/quant/tequila.h"

#include <ATen/Parallel.h>

#include "train/device/ops.h"

namespace tristill::train {

TernaryMatrix Tequila::ternarize(const torch::Tensor& latent,
                                 const torch::Tensor& log_scale) const {
  TernaryMatrix out = Absmean::ternarize(latent, log_scale);
  const torch::Tensor w = latent.detach().contiguous();
  if (device::takes(w)) {
    out.bias = device::dead_sums(w, out.values).mul_(static_cast<double>(lambda_)).to(at::kFloat);
    return out;
  }
  out.bias = at::empty({w.size(0)}, at::kFloat);
  const auto cols = w.size(1);
  const auto* from = w.data_ptr<float>();
  const auto* ternary = out.values.data_ptr<int8_t>();
  auto* bias = out.bias.data_ptr<float>();
  at::parallel_for(0, w.size(0), 16, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      double sum = 0;
      for (int64_t i = r * cols; i < (r + 1) * cols; ++i) {
        if (ternary[i] == 0) sum += static_cast<double>(from[i]);
      }
      bias[r] = static_cast<float>(static_cast<double>(lambda_) * sum);
    }
  });
  return out;
}

LatentGradients Tequila::backward(const torch::Tensor& /*latent*/,
                                  const torch::Tensor& /*log_scale*/, const TernaryMatrix& matrix,
                                  const MatrixGradients& gradients) const {
  const torch::Tensor dead = matrix.values.eq(0);
  return {gradients.weight + dead * (lambda_ * gradients.bias).unsqueeze(1), {}};
}

}  // namespace tristill::train
