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

// Of mean 0 and variance 1: normal, and uniform over +-sqrt(3).
torch::Tensor random_normals(const torch::Tensor& like, uint64_t seed);
torch::Tensor random_uniforms(const torch::Tensor& like, uint64_t seed);

}  // namespace tristill::train
