// Muon (Jordan et al. 2024), for hidden matrices [out, in]. Trainer's thread only.
//   M <- mu M + G;   U = NS(G + mu M)
//   W <- W - lr * sqrt(max(1, out/in)) * U
// NS orthogonalises by Newton-Schulz steps X <- a X + (b A + c A^2) X, A = X X^t, X0 = M / |M|_F,
// (a, b, c) = (3.4445, -4.7750, 2.0315): singular values come out near 1, so the update's size does
// not depend on the gradient's. It is not multiplied by |G|.
#pragma once

#include <torch/torch.h>

#include <cstdint>

namespace tristill::train {

// NS of one matrix in compute type, returned as fp32.
torch::Tensor orthogonalize(const torch::Tensor& matrix, uint32_t steps, at::ScalarType compute);

// mu at a step (from 0): 0.85 to 0.95 over the first 300.
double muon_momentum(int64_t step);

struct MuonRate {
  double lr = 0;
  double momentum = 0.95;
  uint32_t newton_schulz_steps = 5;
};

// Moves weight and its momentum M.
void muon_step(torch::Tensor& weight, torch::Tensor& momentum, const torch::Tensor& grad,
               const MuonRate& rate, at::ScalarType compute);

}  // namespace tristill::train
