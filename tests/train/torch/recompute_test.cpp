// Gradient checkpointing: the bits of a backward pass that kept everything, and each thing once.
#include "train/student/recompute.h"

#include <gtest/gtest.h>

#include "tests/support/test_model.h"
#include "tests/train/torch/random_batch.h"
#include "train/run/gradient_step.h"

namespace tristill::train {
namespace {

using torch::Tensor;

struct Setting {
  const char* name;
  job::WeightRule rule = job::WeightRule::absmean;
  at::ScalarType compute = at::kFloat;
  bool quantized = true;
  bool norms = true;
  bool tied = true;
  double strength = 1;
};

ModelConfig config_of(const Setting& setting) {
  ModelConfig config = test::random_model({.seed = 1}).config;
  config.qk_norm = config.sub_norm = setting.norms;
  config.tied_embeddings = setting.tied;
  return config;
}

Student student_of(const Setting& setting, bool recomputes) {
  job::QuantizationSpec quantization;
  quantization.weights = setting.rule;
  Student student(config_of(setting), setting.quantized, setting.compute, 3,
                  ternary_rule(quantization));
  student.set_strength(setting.strength);
  student.refresh();
  student.recompute_blocks(recomputes);
  return student;
}

// Four rows of two segments each.
Batch batch_of(int64_t vocab) {
  const int64_t columns = 48;
  Batch batch = random_batch(vocab, 4, columns, 7);
  batch.segment_start.slice(1, 20, columns).fill_(20);
  batch.labels[1].slice(0, 0, 30).fill_(-100);
  return batch;
}

class Recomputed : public ::testing::TestWithParam<Setting> {};

TEST_P(Recomputed, GradientsAreThoseWithoutItBitForBit) {
  const Student shape = student_of(GetParam(), false);
  const Batch batch = batch_of(shape.config().vocab_size);
  for (const int64_t parts : {1, 4}) {
    Student kept = student_of(GetParam(), false);
    Student again = student_of(GetParam(), true);
    const Gradients a = gradients_of(kept, batch, {}, {.count = parts}, true);
    const Gradients b = gradients_of(again, batch, {}, {.count = parts}, true);
    EXPECT_EQ(a.sums.weighted, b.sums.weighted);
    for (size_t i = 0; i < a.tensors.size(); ++i) {
      EXPECT_GT(a.tensors[i].abs().max().item<float>(), 0) << kept.parameters()[i].name;
      EXPECT_TRUE(a.tensors[i].equal(b.tensors[i])) << kept.parameters()[i].name;
    }
    EXPECT_EQ(again.branch_gains().size(), 2 * again.blocks().size());
    EXPECT_EQ(again.branch_gains(), kept.branch_gains());
  }
}

INSTANTIATE_TEST_SUITE_P(
    Settings, Recomputed,
    ::testing::Values(Setting{.name = "absmean"}, Setting{.name = "bf16", .compute = at::kBFloat16},
                      Setting{.name = "lsq", .rule = job::WeightRule::lsq},
                      Setting{.name = "seq", .rule = job::WeightRule::seq},
                      Setting{.name = "tequila", .rule = job::WeightRule::tequila},
                      Setting{.name = "without_norms", .norms = false},
                      Setting{.name = "untied", .tied = false},
                      Setting{.name = "half_quantised", .strength = 0.5},
                      Setting{.name = "dense", .quantized = false}),
    [](const auto& tested) { return std::string(tested.param.name); });

TEST(Recompute, RunsOnceMoreAndOnlyForAGradient) {
  int first = 0;
  int again = 0;
  const Recomputable square = [&](const Tensor& x, Pass pass) {
    ++(pass == Pass::forward ? first : again);
    return x * x;
  };
  const Tensor x = at::full({2}, 3.0F).set_requires_grad(true);
  const Tensor y = recomputed(x, square);
  EXPECT_EQ(first, 1);
  EXPECT_EQ(again, 0);
  y.sum().backward();
  EXPECT_EQ(first, 1);
  EXPECT_EQ(again, 1);
  EXPECT_TRUE(x.grad().equal(at::full({2}, 6.0F)));
  const torch::NoGradGuard no_grad;
  EXPECT_TRUE(recomputed(x, square).equal(at::full({2}, 9.0F)));
  EXPECT_EQ(first, 2);
  EXPECT_EQ(again, 1);
}

// Else the gradients of its parameters would be lost without a word.
TEST(Recompute, AnInputWithoutGradientIsADefect) {
  const Recomputable same = [](const Tensor& x, Pass) { return x; };
  EXPECT_THROW(recomputed(at::ones({2}), same), Defect);
}

TEST(Recompute, WhatTheFunctionThrowsInTheBackwardPassComesOut) {
  const Recomputable fails = [](const Tensor& x, Pass pass) {
    if (pass == Pass::again) throw std::domain_error("no");
    return x * 2;
  };
  const Tensor y = recomputed(at::ones({1}).set_requires_grad(true), fails);
  EXPECT_THROW(y.backward(), std::domain_error);
}

}  // namespace
}  // namespace tristill::train
