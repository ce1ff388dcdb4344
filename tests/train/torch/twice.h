// Inputs of an operation that is done twice, on the CPU and as on a device, and how alike the
// results are. For tests.
#pragma once

#include <gtest/gtest.h>
#include <torch/types.h>

namespace tristill::train {

inline torch::Tensor random(at::IntArrayRef shape, uint64_t seed) {
  at::manual_seed(seed);
  return at::randn(shape, at::kFloat);
}

inline torch::Tensor leaf(const torch::Tensor& x) {
  return x.detach().clone().set_requires_grad(true);
}

inline void expect_close(const torch::Tensor& a, const torch::Tensor& b, double tolerance,
                         const char* what) {
  ASSERT_EQ(a.sizes(), b.sizes()) << what;
  const double scale = b.abs().max().item<double>() + 1e-12;
  EXPECT_LT((a - b).abs().max().item<double>() / scale, tolerance) << what;
}

}  // namespace tristill::train
