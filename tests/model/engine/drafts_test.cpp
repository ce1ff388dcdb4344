// Where drafts come from and how many are made.
#include "model/engine/drafts.h"

#include <gtest/gtest.h>

namespace tristill::engine {
namespace {

using Tokens = std::vector<TokenId>;

Tokens guess_of(Drafter& drafter, const Tokens& tokens, size_t n_prompt, uint32_t limit = 100) {
  const auto guess = drafter.guess(tokens, static_cast<uint32_t>(n_prompt), limit);
  return {guess.begin(), guess.end()};
}

TEST(Drafter, GoesOnAsTheTextDidAfterTheSameTokens) {
  Drafter drafter(8, {});
  const Tokens tokens = {1, 2, 3, 4, 5, 6, 7, 9, 2, 3, 4};
  EXPECT_EQ(guess_of(drafter, tokens, tokens.size()), (Tokens{5, 6, 7}));
}

TEST(Drafter, PrefersTheLongerMatch) {
  Drafter drafter(8, {});
  const Tokens tokens = {1, 2, 3, 50, 9, 2, 3, 60, 1, 2, 3};
  EXPECT_EQ(guess_of(drafter, tokens, tokens.size()), (Tokens{50, 9, 2}));
}

TEST(Drafter, ARepeatedTextGoesRound) {
  Drafter drafter(8, {});
  const Tokens tokens = {5, 6, 5, 6, 5, 6};
  EXPECT_EQ(guess_of(drafter, tokens, tokens.size()), (Tokens{5, 6, 5}));
}

TEST(Drafter, NothingKnownNothingGuessed) {
  Drafter drafter(8, {});
  EXPECT_TRUE(guess_of(drafter, {1, 2, 3, 4}, 4).empty());
  Drafter off(0, {});
  EXPECT_TRUE(guess_of(off, {5, 6, 5, 6, 5, 6}, 6).empty());
}

TEST(Drafter, GuessesMoreWhenRightAndLessWhenWrong) {
  Drafter drafter(8, {});
  const Tokens tokens = {5, 6, 5, 6, 5, 6};
  drafter.learn(3, 3);
  EXPECT_EQ(guess_of(drafter, tokens, 6).size(), 6U);
  drafter.learn(6, 6);
  EXPECT_EQ(guess_of(drafter, tokens, 6).size(), 8U);
  EXPECT_EQ(guess_of(drafter, tokens, 6, 2).size(), 2U);
  drafter.learn(8, 1);
  EXPECT_EQ(guess_of(drafter, tokens, 6).size(), 2U);
}

TEST(Drafter, PausesAfterBeingWrongAgainAndAgain) {
  Drafter drafter(8, {});
  const Tokens tokens = {5, 6, 5, 6, 5, 6};
  drafter.learn(3, 0);
  EXPECT_EQ(guess_of(drafter, tokens, 6).size(), 1U);
  drafter.learn(1, 0);
  size_t paused = 0;
  while (guess_of(drafter, tokens, 6).empty()) ++paused;
  EXPECT_GE(paused, 2U);
}

TEST(Drafter, FollowsThePredictionAndFindsItAgainAfterADifference) {
  const Tokens prediction = {10, 11, 12, 13, 14, 15, 16, 17, 18, 19};
  Drafter drafter(4, prediction);
  Tokens tokens = {1};
  EXPECT_EQ(guess_of(drafter, tokens, 1), (Tokens{10, 11, 12, 13}));
  tokens.insert(tokens.end(), {10, 11, 77});  // as predicted, then not
  EXPECT_TRUE(guess_of(drafter, tokens, 1).empty());
  tokens.insert(tokens.end(), {14, 15, 16});
  EXPECT_EQ(guess_of(drafter, tokens, 1), (Tokens{17, 18, 19}));
}

}  // namespace
}  // namespace tristill::engine
