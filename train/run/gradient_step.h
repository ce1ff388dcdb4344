// The gradients of one optimiser step: cuts the batch into micro-batches, runs forward and backward
// of each, and sums. The losses are divided by the labels of the whole batch, which is packed
// before the first of them, so the sum is the gradient of the whole's mean loss. Trainer's thread
// only.
#pragma once

#include "train/run/gradient_tree.h"
#include "train/student/student.h"
#include "train/teach/teachers.h"

namespace tristill::train {

// The micro-batches of one rank: the rank-th of `ranks` equal shares, in order.
struct MicroBatches {
  int64_t count = 1;  // of the whole batch; a power of two that divides its rows
  int64_t rank = 0;
  int64_t ranks = 1;  // a power of two that divides count
};

// The share's branch of the gradient tree, of the loss as it is: what weights.scale multiplied for
// the backward pass is divided again. The parameters' own gradients are none afterwards.
// Branch gains are recorded from the first micro-batch of the share, when asked for.
// teachers, if any, are asked about each micro-batch.
Gradients gradients_of(Student& student, const Batch& batch, const LossWeights& weights,
                       const MicroBatches& share, bool record_gains, Teachers* teachers = nullptr);

// The sums of the losses of each micro-batch, [count] fp64 in their order, without gradients; 0 of
// those of other ranks.
torch::Tensor losses_of(Student& student, const Batch& batch, const LossWeights& weights,
                        const MicroBatches& share, Teachers* teachers = nullptr);

}  // namespace tristill::train
