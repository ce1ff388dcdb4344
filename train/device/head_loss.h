// train/loss/head_loss.h for tensors that are not the CPU's: the same losses and gradients
// (train/loss/token_loss.h, distillation.h), row by row of a chunk as tensor operations; whatever
// is one number a token is fp64. Labels and teacher may be on the CPU; they are brought over once
// a call. One wait for the device a call, for the sums. Trainer's thread only.
#pragma once

#include "train/loss/head_loss.h"

namespace tristill::train::device {

struct AllTargets {
  const TeacherTargets& listed;
  const DenseTargets& dense;
};

torch::Tensor head_loss(const torch::Tensor& hidden, const LinearWeight& head,
                        const torch::Tensor& labels, const AllTargets& teachers,
                        const LossWeights& weights, const LabelCounts& counts, LossSums& sums);

LossSums evaluate_head(const torch::Tensor& hidden, const LinearWeight& head,
                       const torch::Tensor& labels, const LossWeights& weights);

}  // namespace tristill::train::device
