#include "train/run/gradient_step.h"

#include "base/check.h"
#include "train/run/micro_batch.h"

namespace tristill::train {
namespace {

// Out of the parameters, so that the next backward pass starts from nothing.
Gradients take_gradients(const Student& student, const LossSums& sums) {
  Gradients taken{{}, sums};
  for (const NamedParameter& parameter : student.parameters()) {
    torch::Tensor& grad = torch::Tensor(parameter.tensor).mutable_grad();
    CHECK(grad.defined());
    taken.tensors.push_back(grad);
    grad.reset();
  }
  return taken;
}

}  // namespace

Gradients gradients_of(Student& student, const Batch& batch, const LossWeights& weights,
                       const MicroBatches& share, bool record_gains, Teachers* teachers) {
  const int64_t rows = batch.tokens.size(0);
  CHECK(rows % share.count == 0 && share.count % share.ranks == 0);
  const int64_t part = rows / share.count;
  const int64_t own = share.count / share.ranks;
  LabelCounts counts = count_labels(batch.labels, weights);
  counts.parts = share.count;
  GradientTree tree;
  for (int64_t i = 0; i < own; ++i) {
    const int64_t first = (share.rank * own + i) * part;
    student.record_gains(record_gains && i == 0);
    LossSums sums;
    Batch micro = rows_of(batch, first, first + part);
    if (teachers != nullptr) teachers->teach(micro);
    student.loss(micro, weights, sums, counts).backward();
    tree.add(take_gradients(student, sums));
  }
  student.record_gains(false);
  Gradients sum = tree.take();
  if (weights.scale != 1) {
    for (torch::Tensor& tensor : sum.tensors) tensor.mul_(1 / weights.scale);
  }
  return sum;
}

}  // namespace tristill::train
