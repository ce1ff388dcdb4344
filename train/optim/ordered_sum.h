// Sums in one written order, whatever the threads: blocks of 4096 elements by the serving kernels'
// dot product (model/reduce.h), then the blocks in order in fp64. Trainer's thread only.
#pragma once

#include <torch/types.h>

#include <vector>

namespace tristill::train {

// sum x_i^2 of a contiguous fp32 tensor of the CPU.
double sum_of_squares(const torch::Tensor& x);

// Of each of several fp32 tensors of one device, on which the order is the device's.
std::vector<double> sums_of_squares(const std::vector<torch::Tensor>& tensors);

}  // namespace tristill::train
