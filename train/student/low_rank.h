// A matrix that is adapted: it stays as it is, and the product of two thin ones is added, which
// alone are trained.                                        LoRA, Hu et al. 2021, section 4.1
//   W = W0 + s B A      W0 [out, in];  A [rank, in] ~ N(0, 1/in);  B [out, rank] = 0 at first
//   dB = s dy^t (x A^t),   dA = s (B^t dy^t) x          of y = x W^t,  x [N, in], dy [N, out]
// The backward pass never forms dW = dy^t x, which has the size of W0. W is formed once a step of
// the optimiser, so forward and dx cost what they cost without factors, and the model that is
// trained is the one that is exported. The paper leaves the deviation of A open; with this one
// x A^t has the size of x whatever the width. Trainer's thread only.
#pragma once

#include <torch/types.h>

namespace tristill::train {

class LowRank {
 public:
  // a and b in fp32; products of the backward pass are of the type compute.
  LowRank(torch::Tensor a, torch::Tensor b, double scale, at::ScalarType compute);

  const torch::Tensor& a() const { return a_; }
  const torch::Tensor& b() const { return b_; }

  // After every change of the factors, before backward.
  void refresh();

  // W [out, in] fp32 of W0.
  torch::Tensor merged(const torch::Tensor& base) const;

  // dA and dB in fp32, of dy and x in the type compute.
  struct Gradients {
    torch::Tensor a, b;
  };
  Gradients backward(const torch::Tensor& dy, const torch::Tensor& x) const;

 private:
  torch::Tensor a_, b_;
  torch::Tensor a_compute_, b_compute_;
  double scale_;
  at::ScalarType compute_;
};

}  // namespace tristill::train
