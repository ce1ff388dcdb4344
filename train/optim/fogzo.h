// First-order-guided zeroth-order gradients (FOGZO; Yang & Aamodt 2025, arXiv 2510.23926), for the
// matrices of the blocks: the straight-through estimator ignores that quantisation is flat, a
// difference of losses does not. The estimator's gradient G says where to look:
//   u  = sqrt(b) s G / |G| + sqrt(1 - b) z     s a random sign, z uniform of variance 1
//   G' = (L(W + e u) - L(W - e u)) / (2 e) u   |G| over all matrices
// e = gamma / sqrt(12) of each matrix, gamma = mean|W|: z alone would spread a weight over one step
// of the quantiser. b falls from 1 to optimizer.fogzo_beta in a line over the budget; at b = 1 only
// the length of G changes, to what the loss really does along it. Two forward passes more a step.
// Trainer's thread only.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace tristill::train {

class GuidedProbe {
 public:
  // matrices: with gradients, all this rank has. norm: |G|, not 0. A parameter's seed is mixed with
  // its place among all, so what it draws does not depend on who has it.
  struct Matrix {
    torch::Tensor weight;
    size_t place = 0;
  };
  GuidedProbe(const std::vector<Matrix>& matrices, double norm, double beta, uint64_t seed);

  // Weights are W + side e u: side 1 or -1; 0 is W again, bit for bit.
  void move_to(int side);
  // The gradients become G', of the losses on both sides.
  void give_gradients(double up, double down);

 private:
  struct Direction {
    torch::Tensor weight, before, u;
    double reach = 0;  // e
  };
  std::vector<Direction> directions_;
};

// b at a share of the budget.
inline double guidance(double fogzo_beta, double progress) {
  return 1.0 + (fogzo_beta - 1.0) * progress;
}

}  // namespace tristill::train
