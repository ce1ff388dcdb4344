// When a place will be free, in numbers.
#include "model/engine/wait_estimate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace tristill::engine {
namespace {

// Two places; a step takes 10 s, 1 s more for each that generates, 0.1 s for a prompt's token.
Outlook outlook_of(std::vector<OutstandingWork> running, std::vector<OutstandingWork> waiting) {
  return {.running = std::move(running),
          .waiting = std::move(waiting),
          .places = 2,
          .step_tokens = 100,
          .prefill_tokens = 20,
          .cost = {.fixed_s = 10, .turn_s = 1, .prompt_s = 0.1},
          .tokens_per_turn = 1};
}

TEST(WaitEstimate, ThereIsNoWaitWhileThereIsRoom) {
  EXPECT_EQ(estimate_wait_s(outlook_of({}, {})), 0);
  EXPECT_EQ(estimate_wait_s(outlook_of({{0, 1000}}, {})), 0);
  EXPECT_EQ(estimate_wait_s(outlook_of({}, {{50, 1000}})), 0);
}

TEST(WaitEstimate, AFullBatchIsFreeWhenItsShortestEnds) {
  EXPECT_DOUBLE_EQ(estimate_wait_s(outlook_of({{0, 30}, {0, 5}}, {})), 5 * 12);
}

TEST(WaitEstimate, TheNextGetsThePlaceOfWhoeverEnds) {
  // 5 steps of two, then 3 that give the place on again: 8 in all.
  EXPECT_DOUBLE_EQ(estimate_wait_s(outlook_of({{0, 30}, {0, 5}}, {{0, 3}})), 8 * 12);
  // The first has ended before the last of those that wait has: 30 steps.
  EXPECT_DOUBLE_EQ(estimate_wait_s(outlook_of({{0, 30}, {0, 5}}, {{0, 3}, {0, 50}})), 30 * 12);
}

TEST(WaitEstimate, PromptsTakeTheWholeStepAloneAndAPartBesideOthers) {
  // 300 tokens in 3 steps of 20 s, then 4 of one that generates beside the other's prompt, 20
  // tokens each.
  EXPECT_DOUBLE_EQ(estimate_wait_s(outlook_of({{300, 4}, {400, 4}}, {})),
                   3 * (10 + 10) + 4 * (10 + 1 + 2));
}

TEST(WaitEstimate, OnePromptComesAfterTheOther) {
  auto outlook = outlook_of({{0, 100}, {40, 10}, {20, 1}}, {});
  outlook.places = 3;
  // The second reads for 2 steps, then the third for 1, which then generates 1 token.
  EXPECT_DOUBLE_EQ(estimate_wait_s(outlook), 2 * (10 + 1 + 2) + (10 + 2 + 2) + (10 + 3));
}

TEST(WaitEstimate, AShortPromptTakesAPartOfAStep) {
  EXPECT_DOUBLE_EQ(estimate_wait_s(outlook_of({{50, 0}, {50, 0}}, {})), 0.5 * 20);
}

TEST(WaitEstimate, RightDraftsShortenTheWait) {
  auto outlook = outlook_of({{0, 30}, {0, 10}}, {});
  outlook.tokens_per_turn = 4;
  EXPECT_DOUBLE_EQ(estimate_wait_s(outlook), 2.5 * 12);
}

TEST(WaitEstimate, StepsThatAreSmallerThanTheBatchTakeTurns) {
  auto outlook = outlook_of({{0, 10}, {0, 10}}, {});
  outlook.step_tokens = 1;
  EXPECT_DOUBLE_EQ(estimate_wait_s(outlook), 20 * 11);
}

TEST(WaitEstimate, TenBurstsOfEqualWorkTakeTenTimesOne) {
  auto outlook = outlook_of({{0, 40}, {0, 40}}, std::vector<OutstandingWork>(18, {0, 40}));
  EXPECT_NEAR(estimate_wait_s(outlook), 10 * 40 * 12, 1e-3);
}

TEST(WaitEstimate, OddNumbersEnd) {
  auto outlook = outlook_of({{1e9, 1e9}, {1e-9, 1.0 / 3}, {0, 0}},
                            std::vector<OutstandingWork>(3000, {1.0 / 3, 1.0 / 7}));
  EXPECT_TRUE(std::isfinite(estimate_wait_s(outlook)));
  outlook.places = 0;
  EXPECT_TRUE(std::isfinite(estimate_wait_s(outlook)));
  outlook.cost = {};
  EXPECT_EQ(estimate_wait_s(outlook), 0);
}

}  // namespace
}  // namespace tristill::engine
