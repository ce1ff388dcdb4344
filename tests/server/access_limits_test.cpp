#include "server/access/limits.h"

#include <gtest/gtest.h>

namespace tristill::access {
namespace {

using std::chrono::milliseconds;

class AccessLimits : public ::testing::Test {
 protected:
  bool admitted(const Rates& rates, bool computes = true) {
    return limits_.admit("k", rates, computes).refused_by.empty();
  }
  void pass(int64_t ms) { now_ += milliseconds(ms); }

  Limits::Time now_ = Limits::Time() + std::chrono::hours(1000);
  Limits limits_{[this] { return now_; }};
};

TEST_F(AccessLimits, RequestsBeyondTheRateWaitAsLongAsTheyAreTold) {
  const Rates rates{.requests_per_minute = 3};
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(admitted(rates));
  const auto refused = limits_.admit("k", rates, true);
  EXPECT_EQ(refused.refused_by, "requests");
  EXPECT_EQ(refused.wait, milliseconds(20000));  // a third of a minute
  pass(19999);
  EXPECT_FALSE(admitted(rates));
  pass(1);
  EXPECT_TRUE(admitted(rates));
  EXPECT_FALSE(admitted(rates));
}

TEST_F(AccessLimits, WhoeverWaitsAsToldIsLetIn) {
  for (const uint32_t rate : {1U, 7U, 59U, 61U, 997U}) {
    Limits limits([this] { return now_; });
    const Rates rates{.requests_per_minute = rate};
    for (int i = 0; i < 3000; ++i) {
      const auto answer = limits.admit("k", rates, true);
      if (answer.refused_by.empty()) continue;
      pass(answer.wait.count());
      ASSERT_TRUE(limits.admit("k", rates, true).refused_by.empty()) << rate << " " << i;
    }
  }
}

TEST_F(AccessLimits, AMinuteFillsTheBucketAndNoMore) {
  const Rates rates{.requests_per_minute = 5};
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(admitted(rates));
  pass(3600000);
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(admitted(rates));
  EXPECT_FALSE(admitted(rates));
}

TEST_F(AccessLimits, LevelsAreTold) {
  const Rates rates{.requests_per_minute = 4, .tokens_per_minute = 1000};
  const auto first = limits_.admit("k", rates, true);
  EXPECT_EQ(first.requests->limit, 4U);
  EXPECT_EQ(first.requests->remaining, 3U);
  EXPECT_EQ(first.requests->full_in, milliseconds(15000));
  EXPECT_EQ(first.tokens->remaining, 1000U);
  limits_.spend("k", 250);
  EXPECT_EQ(limits_.admit("k", rates, true).tokens->remaining, 750U);
  EXPECT_FALSE(limits_.admit("other", {}, true).requests);
}

TEST_F(AccessLimits, TokensAreOwedAndPaidBackByTime) {
  const Rates rates{.tokens_per_minute = 600};
  EXPECT_TRUE(admitted(rates));
  EXPECT_EQ(limits_.check("k"), milliseconds(0));
  limits_.spend("k", 1199);
  EXPECT_EQ(limits_.check("k"), milliseconds(60000));
  const auto refused = limits_.admit("k", rates, true);
  EXPECT_EQ(refused.refused_by, "tokens");
  EXPECT_EQ(refused.wait, milliseconds(60000));
  EXPECT_EQ(refused.tokens->remaining, 0U);
  EXPECT_TRUE(admitted(rates, /*computes=*/false));
  pass(60000);
  EXPECT_EQ(limits_.check("k"), milliseconds(0));
  EXPECT_TRUE(admitted(rates));
}

TEST_F(AccessLimits, WhatIsRefusedForItsTokensCountsAsNoRequest) {
  const Rates rates{.requests_per_minute = 2, .tokens_per_minute = 60};
  EXPECT_TRUE(admitted(rates));
  limits_.spend("k", 60);
  EXPECT_FALSE(admitted(rates));
  EXPECT_TRUE(admitted(rates, /*computes=*/false));
  EXPECT_FALSE(admitted(rates, /*computes=*/false));
}

TEST_F(AccessLimits, NewRatesHoldAtOnce) {
  EXPECT_TRUE(admitted({.requests_per_minute = 1}));
  EXPECT_FALSE(admitted({.requests_per_minute = 1}));
  EXPECT_TRUE(admitted({.requests_per_minute = 2}));
  EXPECT_TRUE(admitted({}));
  EXPECT_TRUE(admitted({}));
}

TEST_F(AccessLimits, KeysWithoutLimitsAndUnknownOnesNeverWait) {
  limits_.spend("unknown", 1000000);
  limits_.spend("", 1000000);
  EXPECT_EQ(limits_.check("unknown"), milliseconds(0));
  EXPECT_EQ(limits_.check(""), milliseconds(0));
  EXPECT_TRUE(admitted({}));
  limits_.spend("k", 1000000);
  EXPECT_EQ(limits_.check("k"), milliseconds(0));
}

TEST_F(AccessLimits, ForgottenKeysBeginAnew) {
  const Rates rates{.requests_per_minute = 1};
  EXPECT_TRUE(admitted(rates));
  limits_.retain({"k"});
  EXPECT_FALSE(admitted(rates));
  limits_.retain({});
  EXPECT_TRUE(admitted(rates));
}

}  // namespace
}  // namespace tristill::access
