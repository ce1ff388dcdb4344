// What the losses are made of beside the divergences: the teacher's lists, the format loss, chunks.
#include <gtest/gtest.h>
#include <torch/types.h>

#include <cmath>
#include <utility>

#include "tests/support/test_model.h"
#include "train/loss/format_loss.h"
#include "train/loss/head_loss.h"

namespace tristill::train {
namespace {

using torch::Tensor;

// Seeds' vector T5.
TEST(TeacherTargets, AnIdGivenTwiceIsOneTokenWithBothProbabilities) {
  TeacherTargets teacher;
  teacher.add(3, std::vector<int32_t>{5, 7, 5}, std::vector<float>{-1, -2, -3}, true);
  EXPECT_EQ(teacher.ids, (std::vector<int32_t>{5, 7}));
  EXPECT_NEAR(teacher.logprobs[0], -0.8730720, 1e-6);
  EXPECT_EQ(teacher.logprobs[1], -2);
  EXPECT_NEAR(log_other(teacher.logprobs), -0.8052007, 1e-6);
  EXPECT_EQ(teacher.offsets, (std::vector<size_t>{0, 2}));
  EXPECT_EQ(teacher.sampled, (std::vector<uint8_t>{1}));
}

// Padding says P(other) = 1 and must teach nothing: also not that the list is impossible.
TEST(TeacherTargets, ARowWithoutProbabilityIsLeftOut) {
  TeacherTargets teacher;
  const std::vector<int32_t> ids = {0, 0};
  teacher.add(0, std::vector<int32_t>{}, std::vector<float>{}, false);
  teacher.add(1, ids, std::vector<float>{-HUGE_VALF, -HUGE_VALF}, false);
  teacher.add(2, ids, std::vector<float>{-1e30F, -1e30F}, false);
  teacher.add(4, ids, std::vector<float>{std::nanf(""), 0}, false);
  EXPECT_TRUE(teacher.rows.empty());
  EXPECT_EQ(teacher.offsets, (std::vector<size_t>{0}));
}

TEST(TeacherTargets, WhatACertainTeacherLeavesIsNeverNothing) {
  EXPECT_NEAR(log_other(std::vector<float>{0}), std::log(1e-6), 1e-9);
  EXPECT_NEAR(log_other(std::vector<float>{0, -3}), std::log(1e-6), 1e-9);
}

TEST(FormatLoss, TokensOfStructureHoldOneOfTheCharacters) {
  const auto tokenizer = test::tiny_tokenizer();
  const size_t vocab = tokenizer->vocab_size() + 3;
  const auto structural = structural_tokens(*tokenizer, vocab, "{}[]:,\"");
  ASSERT_EQ(structural.size(), vocab);
  for (const char* text : {"{", "}", "[", "]", ":", ",", "\""}) {
    for (const TokenId id : tokenizer->encode(text)) {
      if (tokenizer->bytes_of(id) != text) continue;
      EXPECT_EQ(structural[static_cast<size_t>(id)], 1) << text;
    }
  }
  size_t n_structural = 0;
  for (size_t id = 0; id < tokenizer->vocab_size(); ++id) {
    const auto bytes = tokenizer->bytes_of(static_cast<TokenId>(id));
    if (structural[id] == 0) continue;
    ++n_structural;
    EXPECT_NE(bytes.find_first_of("{}[]:,\"`"), std::string_view::npos) << bytes;
  }
  EXPECT_GE(n_structural, 7U);
  EXPECT_LT(n_structural, vocab / 2);
  for (const TokenId id : tokenizer->encode("return")) {
    EXPECT_EQ(structural[static_cast<size_t>(id)], 0);
  }
  EXPECT_EQ(structural[vocab - 1], 0);
}

// A head whose logits are the hidden states.
LinearWeight identity_head(int64_t n) {
  LinearWeight head(at::eye(n).set_requires_grad(true), LinearMode::dense, at::kFloat);
  head.refresh();
  return head;
}

struct Vectors {
  Tensor hidden = torch::tensor({{.5F, -1.F, 2.F, 0.F, 1.F}, {1.F, .2F, -.3F, .7F, -2.F}});
  Tensor labels = torch::tensor({0, 3}, at::kLong);
  TeacherTargets teacher;
  std::vector<uint8_t> structural = {1, 0, 0, 0, 0};
  Vectors() {
    teacher.add(0, std::vector<int32_t>{0, 3}, std::vector<float>{-.6F, -1.4F}, false);
    teacher.add(1, std::vector<int32_t>{3, 1}, std::vector<float>{-.3F, -2}, false);
  }
};

// Seeds' vector T6 in strict next-token alignment, with their weights: KL + .25 CE + .2 format, the
// format loss a mean over the tokens of structure (here one of two).
TEST(HeadLoss, GivesTheReferenceVectorsAndTheirSum) {
  const Vectors v;
  const LinearWeight head = identity_head(5);
  LossSums sums;
  const Tensor loss =
      head_loss(v.hidden, head, v.labels, v.teacher,
                {.ce = .25, .kd = 1, .z = 0, .format = .2, .structural = v.structural}, sums);
  EXPECT_NEAR(sums.kd / 2, 0.6429350, 1e-6);
  EXPECT_NEAR(sums.ce / 2, 1.6478515, 1e-6);
  EXPECT_NEAR(sums.format, 2.0744381, 1e-6);
  EXPECT_EQ(sums.format_tokens, 1);
  EXPECT_NEAR(loss.item<double>(), 0.6429350 + .25 * 1.6478515 + .2 * 2.0744381, 1e-5);
}

// Collapse to K + 1 bins first, then temper; tau^2 comes on top of the vector.
TEST(HeadLoss, TempersTheCollapsedBins) {
  const Vectors v;
  const LinearWeight head = identity_head(5);
  LossSums sums;
  head_loss(v.hidden, head, v.labels, v.teacher, {.distillation = {.temperature = 1.3}}, sums);
  EXPECT_NEAR(sums.kd / 2, 1.3 * 1.3 * 0.3921032, 1e-6);
}

// Both labels are of structure; the first one is the student's own word.
TEST(HeadLoss, TheFormatLossIsAMeanWithoutTheStudentsOwnWords) {
  Vectors v;
  v.structural = {1, 0, 0, 1, 0};
  const DenseTargets dense{.teachers = {}, .own = {1, 0}};
  const LinearWeight head = identity_head(5);
  LossSums sums;
  const auto run = [&](double format) {
    const LossWeights weights{
        .ce = .25, .kd = 1, .z = 0, .format = format, .structural = v.structural};
    EXPECT_EQ(count_labels(v.labels, weights, dense.own).structural, format > 0 ? 1 : 0);
    Tensor hidden = v.hidden.clone().set_requires_grad(true);
    const Tensor loss = head_loss(hidden, head, v.labels, v.teacher, weights, sums, {}, dense);
    loss.backward();
    return std::pair{loss.item<double>(), hidden.grad()};
  };
  const auto [without, slope_without] = run(0);
  EXPECT_EQ(sums.format_tokens, 0);
  const auto [with, slope] = run(.2);
  EXPECT_EQ(sums.format_tokens, 1);
  EXPECT_NEAR(sums.format, 2 * 1.6478515 - 2.0744381, 1e-6);
  EXPECT_NEAR(with - without, .2 * sums.format, 2e-6);
  EXPECT_TRUE(slope[0].equal(slope_without[0]));
  EXPECT_FALSE(slope[1].equal(slope_without[1]));
}

TEST(HeadLoss, WithoutATokenOfStructureThereIsNoFormatLoss) {
  Vectors v;
  v.structural = {0, 1, 0, 0, 0};
  const LinearWeight head = identity_head(5);
  LossSums sums;
  const Tensor with = head_loss(v.hidden, head, v.labels, v.teacher,
                                {.format = 5, .structural = v.structural}, sums);
  EXPECT_EQ(sums.format_tokens, 0);
  const Tensor without = head_loss(v.hidden, head, v.labels, v.teacher, {}, sums);
  EXPECT_EQ(with.item<float>(), without.item<float>());
}

// Rows on both sides of a chunk's end; every third is taught, every fifth has no label.
TEST(HeadLoss, ChunksGiveTheMeanOfTheTokens) {
  at::manual_seed(21);
  const int64_t n = 1100;
  const int64_t vocab = 40;
  const Tensor hidden = at::randn({n, vocab});
  Tensor labels = at::randint(0, vocab, {n}, at::kLong);
  TeacherTargets teacher;
  for (int64_t row = 0; row < n; ++row) {
    if (row % 5 == 0) labels[row] = -100;
    if (row % 3 != 0) continue;
    const auto id = static_cast<int32_t>(row % 30);
    teacher.add(row, std::vector<int32_t>{id, id + 7}, std::vector<float>{-.4F, -1.5F}, false);
  }
  const LossWeights weights = {.distillation = {.divergence = job::Divergence::jsd}};
  LossSums sums;
  const LinearWeight head = identity_head(vocab);
  const Tensor loss = head_loss(hidden, head, labels, teacher, weights, sums);
  LossSums total;
  size_t taught = 0;
  for (int64_t row = 0; row < n; ++row) {
    TokenTargets targets{.label = labels[row].item<int64_t>()};
    if (row % 3 == 0) {
      targets.ids = teacher.ids.data() + 2 * taught;
      targets.logprobs = teacher.logprobs.data() + 2 * taught;
      targets.count = 2;
      ++taught;
    }
    std::vector<float> logits(hidden[row].data_ptr<float>(), hidden[row].data_ptr<float>() + vocab);
    const LossSums one = token_loss(logits.data(), vocab, targets, weights, 1.0F);
    total.weighted += one.weighted;
    total.tokens += one.tokens;
    total.taught_tokens += one.taught_tokens;
  }
  EXPECT_EQ(sums.tokens, total.tokens);
  EXPECT_EQ(sums.taught_tokens, total.taught_tokens);
  EXPECT_NEAR(sums.weighted, total.weighted, 1e-6 * total.weighted);
  EXPECT_NEAR(loss.item<double>(), total.weighted / static_cast<double>(total.tokens), 1e-5);
}

}  // namespace
}  // namespace tristill::train
