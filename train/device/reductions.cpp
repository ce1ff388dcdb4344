#include "train/device/ops.h"

namespace tristill::train::device {
namespace {

using torch::Tensor;

std::vector<double> read(const std::vector<Tensor>& numbers) {
  if (numbers.empty()) return {};
  const Tensor all = at::stack(numbers).to(at::kDouble).cpu();
  const auto* first = all.data_ptr<double>();
  return {first, first + all.numel()};
}

}  // namespace

Tensor row_gradients(const Tensor& grad, const Tensor& tokens, int64_t vocab) {
  return at::embedding_dense_backward(grad.contiguous(), tokens, vocab, /*padding_idx=*/-1,
                                      /*scale_grad_by_freq=*/false);
}

std::vector<double> sums_of_squares(const std::vector<Tensor>& tensors) {
  std::vector<Tensor> sums;
  for (const Tensor& x : tensors) sums.push_back(x.square().sum(at::kDouble));
  return read(sums);
}

std::vector<double> counts_of_zeros(const std::vector<Tensor>& tensors) {
  std::vector<Tensor> counts;
  for (const Tensor& x : tensors) counts.push_back(x.eq(0).sum());
  return read(counts);
}

}  // namespace tristill::train::device
