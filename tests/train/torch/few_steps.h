// Some steps of a whole student on a device: its losses and gradients, and what it exports.
#pragma once

#include <torch/torch.h>

#include <vector>

#include "tests/support/test_model.h"
#include "train/export.h"
#include "train/optim/optimizer.h"
#include "train/run/gradient_step.h"

namespace tristill::train {

struct FewSteps {
  std::vector<double> losses;
  std::vector<torch::Tensor> first_gradients;
  std::vector<float> exported;
};

inline FewSteps take_steps(torch::Device device, int steps) {
  Student student(test::random_model({.seed = 1}).config, true, at::kFloat, 5, nullptr, device);
  job::OptimizerSpec spec;
  Optimizer optimizer(spec, student.parameters(), at::kFloat);
  FewSteps taken;
  for (int step = 0; step < steps; ++step) {
    torch::manual_seed(static_cast<uint64_t>(step % 4));
    Batch batch{at::randint(0, 64, {4, 32}, at::kLong), {}, at::zeros({4, 32}, at::kInt), {}, 0};
    batch.labels = batch.tokens.roll(-1, 1);
    batch.segment_start.slice(1, 20).fill_(20);
    const std::vector<int32_t> ids = {7, 9};
    const std::vector<float> logprobs = {-0.5F, -1.5F};
    batch.teacher.add(17, ids, logprobs, false);
    Gradients gradients = gradients_of(student, batch, {}, {.count = 2}, false);
    for (size_t i = 0; i < gradients.tensors.size(); ++i) {
      if (step == 0) taken.first_gradients.push_back(gradients.tensors[i].clone());
      torch::Tensor(student.parameters()[i].tensor).mutable_grad() = gradients.tensors[i];
    }
    taken.losses.push_back(gradients.sums.weighted / static_cast<double>(gradients.sums.tokens));
    optimizer.step(1.0);
    student.refresh();
  }
  taken.exported = to_model_tensors(student).output_norm;
  return taken;
}

}  // namespace tristill::train
