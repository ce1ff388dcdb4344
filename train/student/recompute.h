// Gradient checkpointing (Chen et al. 2016, "Training deep nets with sublinear memory cost"): a
// part of the network keeps its input alone, and computes again in the backward pass what that
// needs.
//   forward    y = f(x), without gradient; x is kept
//   backward   y = f(x) once more, with gradient; then dx, and the parameters' gradients, of dy
// The second time f does what it did the first time, so every gradient has the bits that it has
// without this; the price is one more forward pass. Trainer's thread only.
#pragma once

#include <torch/types.h>

#include <functional>

namespace tristill::train {

// Why f runs: what is to happen once (counting, recording) belongs to `forward`.
enum class Pass { forward, again };
using Recomputable = std::function<torch::Tensor(const torch::Tensor& x, Pass pass)>;

// f(x), differentiable in x and in the leaves that f uses. What f refers to must live until the
// backward pass, and have the same values then. Where nothing asks for a gradient f runs once.
// x must ask for one wherever f's leaves do: CHECKed.
torch::Tensor recomputed(const torch::Tensor& x, const Recomputable& f);

}  // namespace tristill::train
