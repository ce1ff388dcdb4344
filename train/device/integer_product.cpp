#include <torch/version.h>

#include <algorithm>

#include "train/device/kernel_launch.h"
#include "train/device/ops.h"

namespace tristill::train::device {
namespace {

using torch::Tensor;

constexpr int64_t kMostToken = 127;
constexpr int64_t kExactFloats = int64_t{1} << 24;  // whole numbers up to here are fp32's

#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 1)
// cuBLASLt's conditions for int8 x int8 -> int32.
bool has_integer_product(const Tensor& a, const Tensor& b) {
  return a.is_cuda() && a.size(0) > 16 && a.size(1) % 8 == 0 && b.size(0) % 8 == 0;
}
#endif

int64_t most_of(const LinearWeight& weight) {
  return weight.mode() == LinearMode::ternary ? 1 : kMostToken;
}

}  // namespace

// Else in fp32, over so many columns at a time that no sum of theirs, in whatever order, leaves
// the whole numbers of fp32. libtorch does not take TF32 for fp32 products unless it is told to.
Tensor integer_product(const Tensor& a, const Tensor& b, int64_t most_b) {
#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 1)
  if (has_integer_product(a, b)) return at::_int_mm(a, b.t());
#endif
  const int64_t width = kExactFloats / (kMostToken * most_b);
  Tensor sum;
  for (int64_t k = 0; k < a.size(1); k += width) {
    const int64_t end = std::min(k + width, a.size(1));
    const Tensor part =
        at::mm(a.slice(1, k, end).to(at::kFloat), b.slice(1, k, end).to(at::kFloat).t())
            .to(at::kInt);
    sum = sum.defined() ? sum.add_(part) : part;
  }
  return sum;
}

Tensor integer_accumulators(const QuantizedTokens& x, const LinearWeight& weight) {
  return integer_product(x.values, weight.values(), most_of(weight));
}

Tensor integer_forward(const QuantizedTokens& x, const LinearWeight& weight) {
  const Tensor acc = device::integer_accumulators(x, weight);
  if (const KernelLaunch run(acc); run && acc.is_contiguous()) {
    Tensor y = at::empty(acc.sizes(), acc.options().dtype(at::kFloat));
    const Tensor& bias = weight.bias();
    run(&Kernels::scale_accumulators, acc.data_ptr<int32_t>(), weight.scale().data_ptr<float>(),
        weight.scale().numel() > 1, x.scale.data_ptr<float>(),
        bias.defined() ? bias.data_ptr<float>() : nullptr, acc.size(0), acc.size(1),
        y.data_ptr<float>());
    return y;
  }
  const Tensor token_scale = x.scale.unsqueeze(1);
  Tensor y = acc.to(at::kFloat);
  y.mul_(weight.scale().unsqueeze(0) * token_scale);  // [1] or [out], by token
  if (weight.bias().defined()) y.add_(weight.bias());
  return y;
}

}  // namespace tristill::train::device
