// Gradient accumulation: the order of the sum, and that parts of a batch are the batch.
#include <gtest/gtest.h>

#include "tests/support/test_model.h"
#include "tests/train/torch/random_batch.h"
#include "train/run/gradient_step.h"
#include "train/run/micro_batch.h"

namespace tristill::train {
namespace {

using torch::Tensor;

Gradients leaf(float value) { return {{at::full({1}, value)}, {.ce = value, .tokens = 1}}; }

TEST(GradientTree, AddsNeighboursFirst) {
  const float values[] = {1e8F, 1.0F, -1e8F, 3.0F, 0.1F, 0.2F, 0.3F, -0.7F};
  GradientTree tree;
  for (const float value : values) tree.add(leaf(value));
  const Gradients sum = tree.take();
  const auto& v = values;
  const float expected = ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]));
  float in_turn = 0;
  for (const float value : values) in_turn += value;
  ASSERT_NE(expected, in_turn);
  EXPECT_EQ(sum.tensors[0].item<float>(), expected);
  EXPECT_EQ(sum.sums.tokens, 8);
}

TEST(GradientTree, AnUnfinishedTreeIsADefect) {
  GradientTree tree;
  for (int i = 0; i < 3; ++i) tree.add(leaf(1));
  EXPECT_THROW(tree.take(), Defect);
}

// Eight rows with labels of very different number, some taught.
Batch uneven_batch(int64_t vocab) {
  const int64_t rows = 8;
  const int64_t columns = 32;
  Batch batch = random_batch(vocab, rows, columns, 4);
  for (int64_t row = 0; row < rows; ++row) {
    batch.labels[row].slice(0, 0, row * 4).fill_(-100);
    const std::vector<int32_t> ids = {1, static_cast<int32_t>(row) + 2};
    const std::vector<float> logprobs = {-1.0F, -2.0F};
    batch.teacher.add(row * columns + 30, ids, logprobs, row % 2 == 0);
  }
  return batch;
}

TEST(GradientStep, RowsOfABatchKeepTheirTeacher) {
  const Batch batch = uneven_batch(50);
  const Batch part = rows_of(batch, 2, 4);
  EXPECT_TRUE(part.tokens.equal(batch.tokens.slice(0, 2, 4)));
  EXPECT_EQ(part.teacher.rows, (std::vector<int64_t>{30, 62}));
  EXPECT_EQ(part.teacher.offsets, (std::vector<size_t>{0, 2, 4}));
  EXPECT_EQ(part.teacher.ids, (std::vector<int32_t>{1, 4, 1, 5}));
  EXPECT_EQ(part.teacher.sampled, (std::vector<uint8_t>{1, 0}));
}

TEST(GradientStep, FourMicroBatchesHaveTheGradientsOfOne) {
  const ModelConfig config = test::random_model({.seed = 1}).config;
  const auto vocab = static_cast<int64_t>(config.vocab_size);
  const Batch batch = uneven_batch(vocab);
  std::vector<uint8_t> structural(config.vocab_size, 0);
  for (size_t i = 0; i < structural.size(); i += 3) structural[i] = 1;
  const LossWeights weights{.format = 0.5, .structural = structural};
  Student whole(config, true, at::kFloat, 1);
  Student parts(config, true, at::kFloat, 1);
  const Gradients a = gradients_of(whole, batch, weights, {.count = 1}, true);
  const Gradients b = gradients_of(parts, batch, weights, {.count = 4}, true);
  EXPECT_EQ(a.sums.tokens, b.sums.tokens);
  EXPECT_EQ(a.sums.taught_tokens, b.sums.taught_tokens);
  EXPECT_EQ(a.sums.format_tokens, b.sums.format_tokens);
  EXPECT_NEAR(a.sums.weighted, b.sums.weighted, 1e-6 * a.sums.weighted);
  EXPECT_EQ(parts.branch_gains().size(), whole.branch_gains().size());
  for (size_t i = 0; i < whole.parameters().size(); ++i) {
    const Tensor& x = a.tensors[i];
    EXPECT_LT((x - b.tensors[i]).norm().item<double>(), 1e-4 * x.norm().item<double>())
        << whole.parameters()[i].name;
  }
}

TEST(GradientStep, OwnWordsAreNotCountedByTheFormatLossOfTheWholeBatch) {
  const ModelConfig config = test::random_model({.seed = 1}).config;
  Batch batch = uneven_batch(config.vocab_size);
  batch.dense.own.resize(static_cast<size_t>(batch.labels.numel()));
  for (size_t i = 0; i < batch.dense.own.size(); i += 3) batch.dense.own[i] = 1;
  const std::vector<uint8_t> structural(config.vocab_size, 1);
  Student student(config, true, at::kFloat, 1);
  const auto sums_of = [&](double format) {
    return gradients_of(student, batch, {.format = format, .structural = structural}, {.count = 4},
                        false)
        .sums;
  };
  const LossSums without = sums_of(0);
  const LossSums with = sums_of(0.5);
  EXPECT_LT(with.format_tokens, with.tokens);
  EXPECT_GT(with.format_tokens, with.tokens / 2);
  const double mean = with.format / static_cast<double>(with.format_tokens);
  EXPECT_NEAR((with.weighted - without.weighted) / static_cast<double>(with.tokens), 0.5 * mean,
              1e-6 * mean);
}

TEST(GradientStep, BranchesOfTwoRanksAddUpToTheTreeOfOneBitForBit) {
  const ModelConfig config = test::random_model({.seed = 1}).config;
  const Batch batch = uneven_batch(config.vocab_size);
  Student student(config, true, at::kFloat, 1);
  const Gradients whole = gradients_of(student, batch, {}, {.count = 4}, false);
  Gradients sum = gradients_of(student, batch, {}, {.count = 4, .rank = 0, .ranks = 2}, false);
  sum += gradients_of(student, batch, {}, {.count = 4, .rank = 1, .ranks = 2}, false);
  EXPECT_EQ(sum.sums.weighted, whole.sums.weighted);
  for (size_t i = 0; i < whole.tensors.size(); ++i) {
    EXPECT_TRUE(sum.tensors[i].equal(whole.tensors[i])) << student.parameters()[i].name;
  }
}

}  // namespace
}  // namespace tristill::train
