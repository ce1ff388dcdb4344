// Some steps of a whole student on a device: its losses and gradients, and what it exports; and
// what a teacher beside it makes of its first.
#pragma once

#include <torch/types.h>

#include <vector>

#include "tests/support/test_model.h"
#include "tests/train/torch/random_batch.h"
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
    at::manual_seed(static_cast<uint64_t>(step % 4));
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

// Of a student that a model in the process teaches, by distributions and by relations.
struct TaughtOnce {
  LossSums sums;
  torch::Tensor gradient;  // of the first matrix of queries
};

inline TaughtOnce learn_once_of_a_teacher(torch::Device device) {
  const ModelTensors tensors = test::random_model({.seed = 5});
  Student teacher = Student::frozen(tensors, device);
  Student student(tensors.config, true, at::kFloat, 1, nullptr, device);
  teacher.record_states(1);
  student.record_states(1);
  Batch batch = random_batch(tensors.config.vocab_size, 4, 32, 32);
  {
    const torch::NoGradGuard no_grad;
    batch.dense.teachers = {{teacher.hidden(batch.tokens, batch.segment_start), &teacher.head()}};
    batch.relation = teacher.states();
  }
  TaughtOnce taught;
  student.loss(batch, {.relation = 1, .relation_heads = 2}, taught.sums).backward();
  taught.gradient = student.blocks()[0].q.latent().grad().cpu();
  return taught;
}

inline void expect_taught_alike(const TaughtOnce& there, const TaughtOnce& here) {
  EXPECT_EQ(there.sums.taught_tokens, here.sums.taught_tokens);
  EXPECT_NEAR(there.sums.kd, here.sums.kd, 0.02 * here.sums.kd);
  EXPECT_NEAR(there.sums.relation, here.sums.relation, 0.02 * here.sums.relation);
  EXPECT_GT(here.sums.relation, 0);
  const torch::Tensor a = here.gradient.reshape({-1}), b = there.gradient.reshape({-1});
  EXPECT_GT((a.dot(b) / (a.norm() * b.norm())).item<double>(), 0.99);
}

}  // namespace tristill::train
