// Sums in one written order, whatever the threads: blocks of 4096 elements by the serving kernels'
// dot product (model/reduce.h), then the blocks in order in fp64. Trainer's thread only.
#pragma once

#include <torch/types.h>

namespace tristill::train {

// sum x_i^2 of a contiguous fp32 tensor.
double sum_of_squares(const torch::Tensor& x);

}  // namespace tristill::train
