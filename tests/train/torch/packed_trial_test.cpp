#include "train/run/packed_trial.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/support/test_model.h"

namespace tristill::train {
namespace {

constexpr uint32_t kTokens = 16;

PackedTrial trial_of(uint32_t bits) {
  ModelConfig config = test::random_model({.seed = 1}).config;
  config.activation_bits = bits;
  config.down_activation_bits = bits;
  return try_packed_forward(config, kTokens);
}

TEST(PackedTrial, TheSameBitsGiveTheSameLogits) {
  const PackedTrial first = trial_of(8);
  EXPECT_FALSE(first.logits.empty());
  EXPECT_TRUE(all_finite(first.logits));
  EXPECT_GT(largest_magnitude(first.logits), 0);
  EXPECT_EQ(largest_difference(first.logits, trial_of(8).logits), 0);
}

TEST(PackedTrial, FewerBitsGiveOtherLogits) {
  EXPECT_GT(largest_difference(trial_of(8).logits, trial_of(4).logits), 0);
}

TEST(PackedTrial, TheDifferenceIsTheLargestAndOfFiniteNumbers) {
  EXPECT_EQ(largest_difference({1, -2, 3}, {1.5F, 2, 3}), 4);
  EXPECT_EQ(largest_magnitude({1, -2}), 2);
  const float nothing = std::numeric_limits<float>::quiet_NaN();
  EXPECT_FALSE(all_finite({1, nothing}));
  EXPECT_TRUE(std::isnan(largest_difference({1, nothing}, {1, 2})));
  EXPECT_TRUE(std::isnan(largest_difference({1, 2}, {1, HUGE_VALF})));
}

}  // namespace
}  // namespace tristill::train
