// First-order-guided zeroth-order gradients (FOGZO; Yang & Aamodt 2025, arXiv 2510.23926), for the
// matrices of the blocks: the straight-through estimator ignores that quantisation is flat, a
// difference of losses does not. The estimator's gradient G says where to look:
//   u  = sqrt(b) s e G / |e G| + sqrt(1 - b) z   s a random sign, z uniform of variance 1
//   G' = (L(W + e u) - L(W - e u)) / (2 e) u     |e G|^2 = the sum of e^2 |G|^2 over all matrices
// e = gamma / sqrt(12) of each matrix, gamma = mean|W|: z alone would spread a weight over one step
// of the quantiser. In units of e the slope is e G, and all matrices are moved alike. b falls from
// 1 to optimizer.fogzo_beta in a line over the budget; at b = 1 all G are multiplied by one number,
// so that they tell what the loss really does along e^2 G: by 1 where it is linear with the slope
// G. Two forward passes more a step. Trainer's thread only.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace tristill::train {

// e of a matrix [out, in]; summed by rows, so that threads do not show on the CPU.
double probe_reach(const torch::Tensor& weight);

class GuidedProbe {
 public:
  // matrices: with gradients, all this rank has. norm: |e G| of all ranks', not 0. A parameter's
  // seed is mixed with its place among all, so what it draws does not depend on who has it.
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
