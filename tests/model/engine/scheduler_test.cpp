// The scheduler's decisions.
#include "model/engine/scheduler.h"

#include <gtest/gtest.h>

#include <vector>

namespace tristill::engine {
namespace {

using Queue = std::vector<WaitingNeed>;
using Grants = std::vector<uint32_t>;

// A sequence with whole blocks behind it.
RunningNeed reading(uint32_t missing) { return {missing, 0, 0, 0, 0}; }
RunningNeed generating(uint32_t computed = 15, uint32_t drafts = 0) {
  const uint32_t blocks = (computed + 15) / 16;
  return {1, drafts, computed, blocks, blocks};
}

StepLimits limits(uint32_t step_tokens, uint32_t free_blocks = 100, uint32_t max_sequences = 8) {
  return {.step_tokens = step_tokens,
          .prefill_tokens = 1000,
          .max_sequences = max_sequences,
          .free_blocks = free_blocks,
          .block_tokens = 16};
}

Grants tokens_of(const StepPlan& plan) {
  Grants grants;
  for (const Grant& grant : plan.grants) grants.push_back(grant.tokens);
  return grants;
}
Grants drafts_of(const StepPlan& plan) {
  Grants grants;
  for (const Grant& grant : plan.grants) grants.push_back(grant.drafts);
  return grants;
}

using Needs = std::vector<RunningNeed>;

TEST(Scheduler, GeneratingSequencesComeBeforePrompts) {
  const Needs needs{reading(50), generating(), generating()};
  EXPECT_EQ(tokens_of(plan_step(needs, Queue{}, limits(10))), (Grants{8, 1, 1}));
}

TEST(Scheduler, APromptIsReadInPartsByRank) {
  EXPECT_EQ(tokens_of(plan_step(Needs{reading(50), reading(50)}, Queue{}, limits(64))),
            (Grants{50, 14}));
}

TEST(Scheduler, ALongPromptDoesNotStallThoseThatGenerate) {
  auto step_limits = limits(512);
  step_limits.prefill_tokens = 32;
  EXPECT_EQ(tokens_of(plan_step(Needs{generating(), reading(500)}, Queue{}, step_limits)),
            (Grants{1, 32}));
  EXPECT_EQ(tokens_of(plan_step(Needs{reading(500)}, Queue{}, step_limits)), (Grants{500}));
}

TEST(Scheduler, DraftsTakeWhatIsLeftOfTheStep) {
  const Needs needs{generating(16, 8), generating(16, 8), reading(20)};
  EXPECT_EQ(drafts_of(plan_step(needs, Queue{}, limits(64))), (Grants{8, 8, 0}));
  EXPECT_EQ(drafts_of(plan_step(needs, Queue{}, limits(28))), (Grants{6, 0, 0}));
}

TEST(Scheduler, AdmitsInOrderWhileCacheAndPlacesLast) {
  const Queue queue{{5, 4}, {5, 4}, {5, 4}};
  EXPECT_EQ(plan_step(Needs{}, queue, limits(64, 9)).n_admitted, 2U);
  EXPECT_EQ(plan_step(Needs{generating()}, queue, limits(64, 100, 2)).n_admitted, 1U);
  EXPECT_EQ(plan_step(Needs{}, queue, limits(64, 3)).n_admitted, 0U);
}

TEST(Scheduler, ASmallSequenceDoesNotOvertakeALargeOne) {
  EXPECT_EQ(plan_step(Needs{}, Queue{{500, 40}, {5, 1}}, limits(64, 30)).n_admitted, 0U);
}

TEST(Scheduler, AdmittingLeavesRoomForThoseThatRun) {
  // The one that runs begins a block in this step and may begin another in the next.
  const Needs needs{generating(16)};
  EXPECT_EQ(plan_step(needs, Queue{{30, 2}}, limits(64, 3)).n_admitted, 0U);
  EXPECT_EQ(plan_step(needs, Queue{{30, 2}}, limits(64, 4)).n_admitted, 1U);
}

TEST(Scheduler, AdmittedSequencesComputeInTheSameStep) {
  const auto plan = plan_step(Needs{generating()}, Queue{{30, 2}}, limits(16));
  EXPECT_EQ(plan.n_admitted, 1U);
  EXPECT_EQ(tokens_of(plan), (Grants{1, 15}));
}

TEST(Scheduler, SequencesTakeTurnsWhenAStepIsTooSmallForAll) {
  Grants total(3, 0);
  auto step_limits = limits(1);
  for (; step_limits.step < 9; ++step_limits.step) {
    const auto plan =
        plan_step(Needs{generating(), generating(), generating()}, Queue{}, step_limits);
    for (size_t i = 0; i < 3; ++i) total[i] += plan.grants[i].tokens;
  }
  EXPECT_EQ(total, (Grants{3, 3, 3}));
}

TEST(Scheduler, TheLastInRankGivesUpItsPlaceWhenTheCacheIsFull) {
  const Needs needs{generating(16), generating(32), generating(48)};  // each begins a block
  EXPECT_EQ(plan_step(needs, Queue{}, limits(64, 3)).n_preempted, 0U);
  const auto plan = plan_step(needs, Queue{{1, 1}}, limits(64, 1));
  EXPECT_EQ(plan.n_preempted, 1U);
  EXPECT_EQ(plan.n_admitted, 0U);
  EXPECT_EQ(tokens_of(plan), (Grants{1, 1, 0}));
}

TEST(Scheduler, TheFirstInRankIsNeverPreempted) {
  Needs needs{generating(16), generating(16)};
  needs[1].own_blocks = 0;  // all shared: nothing is gained
  EXPECT_EQ(plan_step(needs, Queue{}, limits(64, 0)).n_preempted, 1U);
}

TEST(Scheduler, NeverGrantsMoreThanTheStep) {
  for (uint32_t step_tokens = 1; step_tokens < 40; ++step_tokens) {
    const Needs needs{generating(15, 5), reading(9), generating(), reading(30)};
    uint32_t sum = 0;
    for (const Grant& grant : plan_step(needs, Queue{{3, 1}}, limits(step_tokens)).grants) {
      sum += grant.tokens + grant.drafts;
    }
    EXPECT_LE(sum, step_tokens);
    EXPECT_GT(sum, 0U);
  }
}

}  // namespace
}  // namespace tristill::engine
