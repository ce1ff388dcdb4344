// The Muon of distillix as its authors wrote it, kept to show the collapse and its detection. Do
// not train with it; train/optim/muon.h is Muon.
//   W <- (1 - lr wd) W;   M <- mu M + G;   O = NS(M);   W <- W - lr NS(G + mu O)
//   NS(M) = |M|_F X,  X0 = M / (|M|_F + 1e-7),  five times X <- X (1.5 I - 0.5 X^t X)
// What is wrong in it: the update is as large as the gradient (the factor |M|_F, twice), so a
// matrix with a small gradient is moved by weight decay 0.1 alone and shrinks by e every 500 steps;
// the cubic leaves small singular values small; embeddings are among its matrices; lr is constant.
// A model whose matrices are small from the start, without sub-norms, gets gradients in proportion
// to gamma^2 and never recovers. Trainer's thread only.
#pragma once

#include <torch/types.h>

namespace tristill::train {

torch::Tensor distillix_newton_schulz(const torch::Tensor& matrix);

// Without the decay, which the optimiser applies first.
void distillix_muon_step(torch::Tensor& weight, torch::Tensor& momentum, const torch::Tensor& grad,
                         double lr);

}  // namespace tristill::train
