#include "train/optim/muon.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "train/device/ops.h"
#include "train/optim/ordered_sum.h"

namespace tristill::train {
namespace {

constexpr double kMomentumStart = 0.85;
constexpr double kMomentumEnd = 0.95;
constexpr double kMomentumSteps = 300;
constexpr int64_t kBatchNumbers = 1 << 26;  // of a batch of matrices: 128 MB in bf16

constexpr double kLinear = 3.4445;
constexpr double kCubic = -4.7750;
constexpr double kQuintic = 2.0315;

// Matrices that are orthogonalised together: on the CPU, where the order of sums is held, each
// alone.
std::vector<std::vector<MuonMatrix>> batches_of(const std::vector<MuonMatrix>& matrices) {
  std::vector<std::vector<MuonMatrix>> batches;
  std::map<std::vector<int64_t>, size_t> open;  // by shape
  for (const MuonMatrix& matrix : matrices) {
    const auto shape = matrix.weight.sizes().vec();
    const auto found = open.find(shape);
    const bool fits =
        found != open.end() && device::takes(matrix.weight) &&
        static_cast<int64_t>(batches[found->second].size() + 1) * matrix.weight.numel() <=
            kBatchNumbers;
    if (!fits) {
      open[shape] = batches.size();
      batches.emplace_back();
    }
    batches[open[shape]].push_back(matrix);
  }
  return batches;
}

}  // namespace

torch::Tensor orthogonalize(const torch::Tensor& matrix, uint32_t steps, at::ScalarType compute) {
  const bool tall = matrix.size(0) > matrix.size(1);
  torch::Tensor x = tall ? matrix.t() : matrix;
  if (device::takes(matrix)) x = (x / (matrix.norm() + 1e-12)).to(compute);
  else x = (x / (std::sqrt(sum_of_squares(matrix.contiguous())) + 1e-12)).to(compute);
  for (uint32_t i = 0; i < steps; ++i) {
    const torch::Tensor a = at::mm(x, x.t());
    const torch::Tensor b = kCubic * a + kQuintic * at::mm(a, a);
    x = kLinear * x + at::mm(b, x);
  }
  x = x.to(at::kFloat);
  return tall ? x.t() : x;
}

torch::Tensor orthogonalize_batch(const torch::Tensor& matrices, uint32_t steps,
                                  at::ScalarType compute) {
  const bool tall = matrices.size(1) > matrices.size(2);
  torch::Tensor x = tall ? matrices.transpose(1, 2) : matrices;
  x = (x / (x.square().sum({1, 2}, /*keepdim=*/true).sqrt() + 1e-12)).to(compute);
  for (uint32_t i = 0; i < steps; ++i) {
    const torch::Tensor a = at::bmm(x, x.transpose(1, 2));
    const torch::Tensor b = at::baddbmm(a, a, a, kCubic, kQuintic);
    x = at::baddbmm(x, b, x, kLinear);
  }
  x = x.to(at::kFloat);
  return tall ? x.transpose(1, 2) : x;
}

double muon_momentum(int64_t step) {
  const double share = std::min(1.0, static_cast<double>(step) / kMomentumSteps);
  return kMomentumStart + (kMomentumEnd - kMomentumStart) * share;
}

void muon_step(const std::vector<MuonMatrix>& matrices, const MuonRate& rate,
               at::ScalarType compute) {
  for (const std::vector<MuonMatrix>& batch : batches_of(matrices)) {
    std::vector<torch::Tensor> ahead;  // G + mu M
    for (const auto& [weight, momentum, grad] : batch) {
      momentum.mul_(rate.momentum).add_(grad);
      ahead.push_back(grad + rate.momentum * momentum);
    }
    const torch::Tensor updates =
        batch.size() == 1
            ? orthogonalize(ahead[0], rate.newton_schulz_steps, compute).unsqueeze(0)
            : orthogonalize_batch(at::stack(ahead), rate.newton_schulz_steps, compute);
    const torch::Tensor& first = batch[0].weight;
    const double ratio = static_cast<double>(first.size(0)) / static_cast<double>(first.size(1));
    for (size_t i = 0; i < batch.size(); ++i) {
      batch[i].weight.add_(updates[static_cast<int64_t>(i)],
                           -rate.lr * std::sqrt(std::max(1.0, ratio)));
    }
  }
}

}  // namespace tristill::train
