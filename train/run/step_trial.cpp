#include "train/run/step_trial.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "base/random.h"
#include "base/seconds_since.h"
#include "train/device/memory.h"
#include "train/optim/optimizer.h"
#include "train/run/cores.h"
#include "train/run/gradient_step.h"
#include "train/run/job_student.h"
#include "train/run/memory_meter.h"
#include "train/run/owners.h"
#include "train/run/precision.h"
#include "train/run/resident_memory.h"
#include "train/student/student.h"

namespace tristill::train {
namespace {

using Clock = std::chrono::steady_clock;

// Full rows of one segment each, every token with a label.
Batch random_batch(const job::TrainSpec& spec) {
  const int64_t length = spec.sequence_length;
  const int64_t rows = std::max<int64_t>(1, spec.batch_tokens / length);
  Batch batch{at::empty({rows, length}, at::kLong),
              at::empty({rows, length}, at::kLong),
              at::zeros({rows, length}, at::kInt),
              {},
              0};
  RandomStream random(spec.seed, 0);
  for (torch::Tensor* ids : {&batch.tokens, &batch.labels}) {
    auto* id = ids->data_ptr<int64_t>();
    for (int64_t i = 0; i < rows * length; ++i) {
      id[i] = static_cast<int64_t>(random.below(spec.model.vocab_size));
    }
  }
  return batch;
}

// Leaves the gradients with the parameters that the rank owns: owners says 0 of those.
LossSums backward(Student& student, const Batch& batch, const job::TrainSpec& spec,
                  const std::vector<int>& owners) {
  const LossWeights weights{
      .ce = 1, .kd = 0, .z = spec.loss.z_loss, .softcap = spec.model.logit_softcap};
  Gradients gradients =
      gradients_of(student, batch, weights, {.count = spec.micro_batches, .ranks = spec.ranks},
                   /*record_gains=*/false);
  for (size_t i = 0; i < gradients.tensors.size(); ++i) {
    if (owners[i] != 0) continue;
    torch::Tensor(student.parameters()[i].tensor).mutable_grad() = std::move(gradients.tensors[i]);
  }
  return gradients.sums;
}

}  // namespace

StepTrial try_steps(const job::TrainSpec& spec, int steps, torch::Device device, int rank) {
  use_cores(spec, static_cast<int>(spec.ranks));
  const MemoryMeter meter;
  device::restart_peak(device);
  StepTrial trial;
  auto start = Clock::now();
  Student student = job_student(spec, device);
  // An optimiser without others takes itself for rank 0.
  std::vector<int> owners = owners_of(student, spec.optimizer.kind, static_cast<int>(spec.ranks));
  for (int& owner : owners) owner = owner == rank ? 0 : 1;
  Optimizer optimizer(spec.optimizer, student.parameters(), compute_type(spec.precision),
                      {owners, nullptr});
  if (spec.quantization.lambda_warmup_steps > 0) student.set_strength(0);
  student.refresh();
  trial.setup_seconds = seconds_since(start);
  for (int step = 0; step < steps; ++step) {
    start = Clock::now();
    const Batch batch = random_batch(spec);
    const LossSums sums = backward(student, batch, spec, owners);
    optimizer.step(1.0);
    student.refresh();
    device::finish_work(device);
    trial.step_seconds = seconds_since(start);
    trial.tokens = static_cast<double>(sums.tokens);
    trial.loss = sums.weighted / trial.tokens;
  }
  trial.peak_bytes =
      device.is_cpu() ? static_cast<uint64_t>(meter.peak()) : device::peak_bytes(device);
  trial.resident_bytes = resident_bytes().value_or(0);
  return trial;
}

}  // namespace tristill::train
