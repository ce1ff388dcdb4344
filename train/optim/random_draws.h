// Random numbers for each element of a tensor, from a seed alone: a resumed run draws them again,
// and so does another device. For rules that push weights. Trainer's thread only.
#pragma once

#include <torch/types.h>

#include <cstdint>

namespace tristill::train {

// +1 or -1.
torch::Tensor random_signs(const torch::Tensor& like, uint64_t seed);

// sign(x), and a random sign where x is 0.
torch::Tensor sign_or_random(const torch::Tensor& x, uint64_t seed);

// Of the standard normal distribution.
torch::Tensor random_normals(const torch::Tensor& like, uint64_t seed);

}  // namespace tristill::train
