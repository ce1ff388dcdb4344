// Stochastic gradient Langevin dynamics (Welling & Teh 2011), annealed as distillix has it: plain
// descent with noise that the temperature scales. An ablation: without momentum or normalisation,
// and noise that does not know how large a weight is.
//   W <- W - lr G + sqrt(2 lr T) N(0, 1)
// T is optimizer.sgld_temperature times the schedule's multiplier, as lr is: with schedule cosine
// and lr_floor 1e-5 it falls from 0.01 to 1e-7, as published. Trainer's thread only.
#pragma once

#include <torch/types.h>

#include <cstdint>

namespace tristill::train {

// seed is for the noise of this step.
void sgld_step(torch::Tensor& weight, const torch::Tensor& grad, double lr, double temperature,
               uint64_t seed);

}  // namespace tristill::train
