#include "train/optim/ordered_sum.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "base/check.h"
#include "model/kernels/kernels.h"
#include "train/device/ops.h"

namespace tristill::train {

constexpr int64_t kBlock = 4096;

double sum_of_squares(const torch::Tensor& x) {
  CHECK(x.is_contiguous() && x.scalar_type() == at::kFloat);
  const int64_t n = x.numel();
  const auto* data = x.data_ptr<float>();
  std::vector<float> sums(static_cast<size_t>((n + kBlock - 1) / kBlock));
  at::parallel_for(0, static_cast<int64_t>(sums.size()), 16, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const float* from = data + block * kBlock;
      const auto size = static_cast<size_t>(std::min(kBlock, n - block * kBlock));
      sums[static_cast<size_t>(block)] = kernels::best().dot(from, from, size);
    }
  });
  double total = 0;
  for (const float sum : sums) total += static_cast<double>(sum);
  return total;
}

std::vector<double> sums_of_squares(const std::vector<torch::Tensor>& tensors) {
  if (!tensors.empty() && device::takes(tensors[0])) return device::sums_of_squares(tensors);
  std::vector<double> squares;
  for (const torch::Tensor& tensor : tensors) {
    squares.push_back(sum_of_squares(tensor.contiguous()));
  }
  return squares;
}

}  // namespace tristill::train
