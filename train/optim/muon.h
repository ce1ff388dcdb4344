// Muon (Jordan et al. 2024), for hidden matrices [out, in]. Trainer's thread only.
//   M <- mu M + G;   U = NS(G + mu M)
//   W <- W - lr * sqrt(max(1, out/in)) * U
// NS orthogonalises by Newton-Schulz steps X <- a X + (b A + c A^2) X, A = X X^t, X0 = M / |M|_F,
// (a, b, c) = (3.4445, -4.7750, 2.0315): singular values come out near 1, so the update's size does
// not depend on the gradient's. It is not multiplied by |G|.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace tristill::train {

// NS of one matrix in compute type, returned as fp32.
torch::Tensor orthogonalize(const torch::Tensor& matrix, uint32_t steps, at::ScalarType compute);
// Of matrices of one shape as one batch, [B, out, in].
torch::Tensor orthogonalize_batch(const torch::Tensor& matrices, uint32_t steps,
                                  at::ScalarType compute);

// mu at a step (from 0): 0.85 to 0.95 over the first 300.
double muon_momentum(int64_t step);

struct MuonRate {
  double lr = 0;
  double momentum = 0.95;
  uint32_t newton_schulz_steps = 5;
};

struct MuonMatrix {
  torch::Tensor weight, momentum, grad;
};

// Moves the weights and their momenta M. Off the CPU matrices of one shape are orthogonalised side
// by side, as far as they are small: one of them is too little work for a GPU.
void muon_step(const std::vector<MuonMatrix>& matrices, const MuonRate& rate,
               at::ScalarType compute);

}  // namespace tristill::train
