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

// Calls take(micro_batch, its number, what losses are divided by) for each one of the share.
template <class Take>
void each_of_share(const Batch& batch, const LossWeights& weights, const MicroBatches& share,
                   Teachers* teachers, const Take& take) {
  const int64_t rows = batch.tokens.size(0);
  CHECK(rows % share.count == 0 && share.count % share.ranks == 0);
  const int64_t part = rows / share.count;
  const int64_t own = share.count / share.ranks;
  LabelCounts counts = count_labels(batch.labels, weights, batch.dense.own);
  counts.related = related_tokens(batch.labels, batch.segment_start).count;
  for (int64_t i = share.rank * own; i < (share.rank + 1) * own; ++i) {
    Batch micro = rows_of(batch, i * part, (i + 1) * part);
    if (teachers != nullptr) teachers->teach(micro);
    take(micro, i, counts);
  }
}

}  // namespace

Gradients gradients_of(Student& student, const Batch& batch, const LossWeights& weights,
                       const MicroBatches& share, bool record_gains, Teachers* teachers) {
  GradientTree tree;
  student.record_gains(record_gains);
  each_of_share(batch, weights, share, teachers,
                [&](const Batch& micro, int64_t, const LabelCounts& counts) {
                  LossSums sums;
                  student.loss(micro, weights, sums, counts).backward();
                  student.record_gains(false);
                  tree.add(take_gradients(student, sums));
                });
  Gradients sum = tree.take();
  if (weights.scale != 1) {
    for (torch::Tensor& tensor : sum.tensors) tensor.mul_(1 / weights.scale);
  }
  return sum;
}

torch::Tensor losses_of(Student& student, const Batch& batch, const LossWeights& weights,
                        const MicroBatches& share, Teachers* teachers) {
  const torch::NoGradGuard no_grad;
  torch::Tensor losses = at::zeros({share.count}, at::kDouble);
  each_of_share(batch, weights, share, teachers,
                [&](const Batch& micro, int64_t i, const LabelCounts& counts) {
                  LossSums sums;
                  student.loss(micro, weights, sums, counts);
                  losses.data_ptr<double>()[i] = sums.weighted;
                });
  return losses;
}

}  // namespace tristill::train
