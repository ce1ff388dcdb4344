// The attention-relation loss against its definition, differentiated by autograd.
#include "train/loss/attention_relation.h"

#include <gtest/gtest.h>

#include <limits>
#include <utility>

namespace tristill::train {
namespace {

using torch::Tensor;

constexpr int64_t kBatch = 2;
constexpr int64_t kTokens = 6;
constexpr int64_t kHeads = 2;

Tensor random_states(int64_t width, uint64_t seed) {
  at::manual_seed(seed);
  return at::randn({kBatch * kTokens, width});
}

// Row 0: one segment; row 1: two.
Tensor segments() {
  Tensor starts = at::zeros({kBatch, kTokens}, at::kInt);
  starts[1].slice(0, 4).fill_(4);
  return starts;
}

// Without padding.
RelatedTokens all_tokens() {
  return related_tokens(at::zeros({kBatch, kTokens}, at::kLong), segments());
}

// [B, heads, T, T] log relations, by plain operations.
Tensor plain_relations(const Tensor& states, const Tensor& starts) {
  const int64_t width = states.size(1) / kHeads;
  const Tensor a = states.view({kBatch, kTokens, kHeads, width}).transpose(1, 2);
  Tensor scores = at::matmul(a, a.transpose(2, 3)) / std::sqrt(static_cast<double>(width));
  const Tensor column = at::arange(kTokens).view({1, 1, 1, kTokens});
  const Tensor row = at::arange(kTokens).view({1, 1, kTokens, 1});
  const Tensor hidden = column.gt(row).logical_or(column.lt(starts.view({kBatch, 1, kTokens, 1})));
  return scores.masked_fill(hidden, -1e30).log_softmax(3);
}

Tensor plain_loss(const AttentionStates& student, const AttentionStates& teacher,
                  const Tensor& starts) {
  Tensor loss = at::zeros({});
  for (size_t i = 0; i < 3; ++i) {
    const Tensor t = plain_relations(teacher[i], starts);
    const Tensor s = plain_relations(student[i], starts);
    loss = loss + (t.exp() * (t - s)).sum() / static_cast<double>(kBatch * kTokens * kHeads);
  }
  return loss / 3.0;
}

TEST(AttentionRelation, EqualsItsDefinitionAndItsGradient) {
  const AttentionStates teacher = {random_states(12, 1), random_states(8, 2), random_states(8, 3)};
  AttentionStates student = {random_states(8, 4), random_states(4, 5), random_states(4, 6)};
  for (Tensor& states : student) states.set_requires_grad(true);
  const Tensor expected = plain_loss(student, teacher, segments());
  expected.backward();
  AttentionStates gradients;
  for (size_t i = 0; i < 3; ++i) {
    gradients[i] = student[i].grad().clone();
    student[i].mutable_grad().reset();
  }
  const Tensor loss = attention_relation_loss(student, teacher, all_tokens(), kHeads);
  EXPECT_NEAR(loss.item<double>(), expected.item<double>(), 1e-6);
  loss.backward();
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(at::allclose(student[i].grad(), gradients[i], 1e-4, 1e-6)) << i;
  }
}

TEST(AttentionRelation, IsNothingWhenTheRelationsAreTheSame) {
  AttentionStates states = {random_states(8, 1), random_states(4, 2), random_states(4, 3)};
  AttentionStates turned;  // a rotation of every head's space changes no relation
  for (size_t i = 0; i < 3; ++i) {
    const int64_t width = states[i].size(1) / kHeads;
    turned[i] = states[i].view({-1, kHeads, width}).flip(2).reshape_as(states[i]).clone();
    turned[i].set_requires_grad(true);
  }
  const Tensor loss = attention_relation_loss(turned, states, all_tokens(), kHeads);
  EXPECT_NEAR(loss.item<double>(), 0.0, 1e-7);
  loss.backward();
  EXPECT_LT(turned[0].grad().abs().max().item<double>(), 1e-6);
}

TEST(AttentionRelation, DoesNotSeeOtherSegments) {
  const AttentionStates teacher = {random_states(8, 1), random_states(4, 2), random_states(4, 3)};
  const AttentionStates student = {random_states(8, 4), random_states(4, 5), random_states(4, 6)};
  const double before =
      attention_relation_loss(student, teacher, all_tokens(), kHeads).item<double>();
  // The second segment of row 1 moves as a whole: relations inside of each stay, others would not.
  AttentionStates moved;
  for (size_t i = 0; i < 3; ++i) {
    moved[i] = student[i].clone();
    moved[i].slice(0, kTokens + 4, 2 * kTokens).neg_();
  }
  EXPECT_NEAR(attention_relation_loss(moved, teacher, all_tokens(), kHeads).item<double>(), before,
              1e-6);
}

// A segment without labels at a row's end is padding; labels may begin and end inside of a text.
TEST(AttentionRelation, TextEndsWithTheLastSegmentThatHasALabel) {
  Tensor labels = at::full({3, kTokens}, -100, at::kLong);
  Tensor starts = at::zeros({3, kTokens}, at::kInt);
  labels[0][1] = 7;
  starts[0].slice(0, 4).fill_(4);
  labels[1][4] = 7;
  starts[1].slice(0, 3).fill_(3);
  const RelatedTokens tokens = related_tokens(labels, starts);
  EXPECT_EQ(tokens.lengths, (std::vector<int64_t>{4, 6, 0}));
  EXPECT_EQ(tokens.count, 10);
}

// Row 1 is text up to its second segment: that says nothing, and the mean is over the other ten.
TEST(AttentionRelation, PaddingIsNeitherComparedNorCounted) {
  Tensor labels = at::zeros({kBatch, kTokens}, at::kLong);
  labels[1].slice(0, 4).fill_(-100);
  const RelatedTokens tokens = related_tokens(labels, segments());
  EXPECT_EQ(tokens.count, 10);
  const AttentionStates teacher = {random_states(8, 1), random_states(4, 2), random_states(4, 3)};
  const auto run = [&](double padding) {
    AttentionStates student = {random_states(8, 4), random_states(4, 5), random_states(4, 6)};
    for (Tensor& states : student) {
      states.slice(0, kTokens + 4).fill_(padding);
      states.set_requires_grad(true);
    }
    const Tensor loss = attention_relation_loss(student, teacher, tokens, kHeads);
    loss.backward();
    return std::pair{loss.item<double>(), student};
  };
  const auto [loss, student] = run(0.5);
  const auto [other_loss, other] = run(-3);
  EXPECT_EQ(loss, other_loss);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(student[i].grad().equal(other[i].grad())) << i;
    EXPECT_EQ(student[i].grad().slice(0, kTokens + 4).abs().max().item<float>(), 0) << i;
  }
  // The same texts, and behind them one that is the teacher's: a mean over all twelve.
  AttentionStates alike;
  for (size_t i = 0; i < 3; ++i) {
    alike[i] = student[i].detach().clone();
    alike[i].slice(0, kTokens + 4).copy_(teacher[i].slice(0, kTokens + 4));
  }
  const double whole = attention_relation_loss(alike, teacher, all_tokens(), kHeads).item<double>();
  EXPECT_NEAR(loss * 10, whole * 12, 1e-5);
}

TEST(AttentionRelation, PartsWithTheCountOfTheWholeAddUpToIt) {
  const AttentionStates teacher = {random_states(8, 1), random_states(4, 2), random_states(4, 3)};
  const AttentionStates student = {random_states(8, 4), random_states(4, 5), random_states(4, 6)};
  Tensor labels = at::zeros({kBatch, kTokens}, at::kLong);
  labels[1].slice(0, 4).fill_(-100);
  const RelatedTokens whole = related_tokens(labels, segments());
  double sum = 0;
  for (int64_t row = 0; row < kBatch; ++row) {
    const auto rows = [&](const AttentionStates& states) {
      AttentionStates part;
      for (size_t i = 0; i < 3; ++i) {
        part[i] = states[i].slice(0, row * kTokens, (row + 1) * kTokens);
      }
      return part;
    };
    RelatedTokens tokens =
        related_tokens(labels.slice(0, row, row + 1), segments().slice(0, row, row + 1));
    tokens.count = whole.count;
    sum += attention_relation_loss(rows(student), rows(teacher), tokens, kHeads).item<double>();
  }
  EXPECT_NEAR(sum, attention_relation_loss(student, teacher, whole, kHeads).item<double>(), 1e-6);
}

}  // namespace
}  // namespace tristill::train
