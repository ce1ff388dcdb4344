// The attention-relation loss against its definition, differentiated by autograd.
#include "train/loss/attention_relation.h"

#include <gtest/gtest.h>

#include <limits>

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
  const Tensor loss = attention_relation_loss(student, teacher, segments(), kHeads);
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
  const Tensor loss = attention_relation_loss(turned, states, segments(), kHeads);
  EXPECT_NEAR(loss.item<double>(), 0.0, 1e-7);
  loss.backward();
  EXPECT_LT(turned[0].grad().abs().max().item<double>(), 1e-6);
}

TEST(AttentionRelation, DoesNotSeeOtherSegments) {
  const AttentionStates teacher = {random_states(8, 1), random_states(4, 2), random_states(4, 3)};
  const AttentionStates student = {random_states(8, 4), random_states(4, 5), random_states(4, 6)};
  const double before =
      attention_relation_loss(student, teacher, segments(), kHeads).item<double>();
  // The second segment of row 1 moves as a whole: relations inside of each stay, others would not.
  AttentionStates moved;
  for (size_t i = 0; i < 3; ++i) {
    moved[i] = student[i].clone();
    moved[i].slice(0, kTokens + 4, 2 * kTokens).neg_();
  }
  EXPECT_NEAR(attention_relation_loss(moved, teacher, segments(), kHeads).item<double>(), before,
              1e-6);
}

}  // namespace
}  // namespace tristill::train
