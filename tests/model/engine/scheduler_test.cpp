// The scheduler's decisions.
#include "model/engine/scheduler.h"

#include <gtest/gtest.h>

#include <numeric>

namespace tristill::engine {
namespace {

using Needs = std::vector<RunningNeed>;
using Queue = std::vector<WaitingNeed>;
using Grants = std::vector<uint32_t>;

StepLimits limits(uint32_t step_tokens, uint32_t free_blocks = 100, uint32_t max_sequences = 8) {
  return {.step_tokens = step_tokens, .max_sequences = max_sequences, .free_blocks = free_blocks};
}

TEST(Scheduler, GeneratingSequencesComeBeforePrompts) {
  const auto plan = plan_step(Needs{{50}, {1}, {1}}, Queue{}, limits(10));
  EXPECT_EQ(plan.grants, (Grants{8, 1, 1}));
}

TEST(Scheduler, APromptIsReadInPartsOldestFirst) {
  const auto plan = plan_step(Needs{{50}, {50}}, Queue{}, limits(64));
  EXPECT_EQ(plan.grants, (Grants{50, 14}));
}

TEST(Scheduler, AdmitsInOrderWhileCacheAndPlacesLast) {
  const Queue queue{{5, 4}, {5, 4}, {5, 4}};
  EXPECT_EQ(plan_step(Needs{}, queue, limits(64, 9)).n_admitted, 2U);
  EXPECT_EQ(plan_step(Needs{{1}}, queue, limits(64, 100, 2)).n_admitted, 1U);
  EXPECT_EQ(plan_step(Needs{}, queue, limits(64, 3)).n_admitted, 0U);
}

TEST(Scheduler, ASmallSequenceDoesNotOvertakeALargeOne) {
  EXPECT_EQ(plan_step(Needs{}, Queue{{500, 40}, {5, 1}}, limits(64, 30)).n_admitted, 0U);
}

TEST(Scheduler, AdmittedSequencesComputeInTheSameStep) {
  const auto plan = plan_step(Needs{{1}}, Queue{{30, 2}}, limits(16));
  EXPECT_EQ(plan.n_admitted, 1U);
  EXPECT_EQ(plan.grants, (Grants{1, 15}));
}

TEST(Scheduler, SequencesTakeTurnsWhenAStepIsTooSmallForAll) {
  Grants total(3, 0);
  auto step_limits = limits(1);
  for (; step_limits.step < 9; ++step_limits.step) {
    const auto plan = plan_step(Needs{{1}, {1}, {1}}, Queue{}, step_limits);
    for (size_t i = 0; i < 3; ++i) total[i] += plan.grants[i];
  }
  EXPECT_EQ(total, (Grants{3, 3, 3}));
}

TEST(Scheduler, NeverGrantsMoreThanTheStep) {
  for (uint32_t step_tokens = 1; step_tokens < 40; ++step_tokens) {
    const auto plan = plan_step(Needs{{1}, {9}, {1}, {30}}, Queue{{3, 1}}, limits(step_tokens));
    const uint32_t sum = std::accumulate(plan.grants.begin(), plan.grants.end(), 0U);
    EXPECT_LE(sum, step_tokens);
    EXPECT_GT(sum, 0U);
  }
}

}  // namespace
}  // namespace tristill::engine
