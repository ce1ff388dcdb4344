// Filters one by one and in order, draws, and log-probabilities.
#include "model/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <stdexcept>
#include <vector>

#include "model/logprobs.h"

namespace tristill {
namespace {

constexpr uint64_t kSeed = 99;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

TokenId sample(const std::vector<float>& logits, const SamplingParams& params,
               uint64_t position = 0, const std::vector<TokenId>& prompt = {},
               const std::vector<TokenId>& output = {}) {
  Sampler sampler(params, prompt);
  for (const TokenId token : output) sampler.accept(token);
  SamplerScratch scratch;
  return sampler.sample(logits, position, scratch);
}

// How often each token comes in n draws.
std::map<TokenId, int> draws(const std::vector<float>& logits, SamplingParams params, int n) {
  std::map<TokenId, int> counts;
  params.seed = kSeed;
  for (int p = 0; p < n; ++p) ++counts[sample(logits, params, static_cast<uint64_t>(p))];
  return counts;
}

std::vector<float> logs(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p)));
  return logits;
}

TEST(Sampler, GreedyTakesTheLowestIdOfTheBest) {
  EXPECT_EQ(sample({0.0F, 3.0F, 3.0F, 1.0F}, {.temperature = 0.0F}), 1);
}

TEST(Sampler, DrawsFollowTheProbabilities) {
  const auto counts = draws(logs({0.5, 0.3, 0.2}), {}, 20000);
  EXPECT_NEAR(counts.at(0), 10000, 300);
  EXPECT_NEAR(counts.at(1), 6000, 300);
  EXPECT_NEAR(counts.at(2), 4000, 300);
}

TEST(Sampler, TemperatureSharpens) {
  const auto counts = draws(logs({0.5, 0.3, 0.2}), {.temperature = 0.5F}, 20000);
  EXPECT_NEAR(counts.at(0), 20000 * 0.25 / 0.38, 300);
}

TEST(Sampler, TheTiniestTemperatureIsGreedy) {
  EXPECT_EQ(sample({1.0F, 2.0F, -3e38F}, {.temperature = 1e-45F}), 1);
}

TEST(Sampler, TopKKeepsTheBestKWithTiesToTheLowerId) {
  const auto counts = draws({1.0F, 2.0F, 1.0F, 1.0F}, {.top_k = 2}, 2000);
  EXPECT_EQ(counts.size(), 2U);
  EXPECT_TRUE(counts.contains(1));
  EXPECT_TRUE(counts.contains(0));
}

TEST(Sampler, TopPKeepsTheSmallestSetThatReachesIt) {
  const auto logits = logs({0.2, 0.5, 0.1, 0.2});
  EXPECT_EQ(draws(logits, {.top_p = 0.49F}, 2000).size(), 1U);
  const auto two = draws(logits, {.top_p = 0.65F}, 2000);
  EXPECT_EQ(two.size(), 2U);
  EXPECT_TRUE(two.contains(0));
  EXPECT_EQ(draws(logits, {.top_p = 0.8F}, 2000).size(), 3U);
  EXPECT_EQ(draws(logits, {.top_p = 1.0F}, 2000).size(), 4U);
}

TEST(Sampler, TopPOfAFlatVocabularyKeepsItsShare) {
  const std::vector<float> flat(1000, 0.0F);
  for (const auto& [token, n] : draws(flat, {.top_p = 0.5F}, 3000)) EXPECT_LT(token, 501) << n;
}

TEST(Sampler, MinPIsRelativeToTheBest) {
  const auto counts = draws(logs({0.5, 0.3, 0.2}), {.min_p = 0.5F}, 2000);
  EXPECT_EQ(counts.size(), 2U);
  EXPECT_FALSE(counts.contains(2));
}

TEST(Sampler, TopKComesBeforeTopP) {
  // Of the best two (0.4 and 0.3) the first has 0.57: top_p 0.5 leaves one. Over all four, 0.4 is
  // not enough and two would stay.
  EXPECT_EQ(draws(logs({0.4, 0.3, 0.2, 0.1}), {.top_p = 0.5F, .top_k = 2}, 2000).size(), 1U);
  EXPECT_EQ(draws(logs({0.4, 0.3, 0.2, 0.1}), {.top_p = 0.5F}, 2000).size(), 2U);
}

TEST(Sampler, BiasAddsToTheLogit) {
  EXPECT_EQ(sample({1.0F, 0.0F}, {.temperature = 0.0F, .logit_bias = {{1, 2.0F}, {77, 9.0F}}}), 1);
}

TEST(Sampler, RepetitionPenaltySeesPromptAndOutput) {
  const SamplingParams params{.temperature = 0.0F, .repetition_penalty = 2.0F};
  EXPECT_EQ(sample({3.0F, 2.0F}, params), 0);
  EXPECT_EQ(sample({3.0F, 2.0F}, params, 0, {0}), 1);
  EXPECT_EQ(sample({3.0F, 2.0F}, params, 0, {}, {0}), 1);
  EXPECT_EQ(sample({-1.0F, -1.5F}, params, 0, {0}), 1);  // negative logits are multiplied
}

TEST(Sampler, PresenceAndFrequencySeeTheOutputOnly) {
  SamplingParams presence{.temperature = 0.0F, .presence_penalty = 1.0F};
  EXPECT_EQ(sample({3.0F, 2.5F}, presence, 0, {0, 0}), 0);
  EXPECT_EQ(sample({3.0F, 2.5F}, presence, 0, {}, {0}), 1);
  EXPECT_EQ(sample({4.0F, 2.5F}, presence, 0, {}, {0, 0}), 0);
  SamplingParams frequency{.temperature = 0.0F, .frequency_penalty = 1.0F};
  EXPECT_EQ(sample({4.0F, 2.5F}, frequency, 0, {}, {0}), 0);
  EXPECT_EQ(sample({4.0F, 2.5F}, frequency, 0, {}, {0, 0}), 1);
}

TEST(Sampler, DrawsDependOnSeedStreamAndPosition) {
  const std::vector<float> flat(1000, 0.0F);
  const TokenId base = sample(flat, {.seed = 1});
  EXPECT_EQ(sample(flat, {.seed = 1}), base);
  EXPECT_NE(sample(flat, {.seed = 2}), base);
  EXPECT_NE(sample(flat, {.seed = 1, .stream = 1}), base);
  EXPECT_NE(sample(flat, {.seed = 1}, 1), base);
}

TEST(Sampler, LogitsWithoutAFiniteMaximumThrow) {
  for (const float bad : {kNan, std::numeric_limits<float>::infinity()}) {
    EXPECT_THROW(sample({bad, bad}, {}), std::runtime_error);
    EXPECT_THROW(sample({bad, bad}, {.temperature = 0.0F}), std::runtime_error);
  }
}

TEST(LogSoftmax, SumsToOneAndTopAgreesWithSingles) {
  std::vector<float> logits;
  for (int i = 0; i < 777; ++i) logits.push_back(static_cast<float>((i * 37) % 50) * 0.3F);
  std::vector<float> scratch;
  const LogSoftmax log_softmax(logits, scratch);
  double sum = 0;
  for (TokenId t = 0; t < 777; ++t) sum += std::exp(static_cast<double>(log_softmax.at(t)));
  EXPECT_NEAR(sum, 1.0, 1e-5);
  const auto top = log_softmax.top(20);
  ASSERT_EQ(top.size(), 20U);
  for (size_t i = 0; i < top.size(); ++i) {
    EXPECT_EQ(top[i].logprob, log_softmax.at(top[i].token));  // the identical float
    if (i == 0) continue;
    EXPECT_TRUE(top[i - 1].logprob > top[i].logprob ||
                (top[i - 1].logprob == top[i].logprob && top[i - 1].token < top[i].token));
  }
  EXPECT_EQ(logits[static_cast<size_t>(top[0].token)],
            *std::max_element(logits.begin(), logits.end()));
  EXPECT_TRUE(log_softmax.top(0).empty());
  EXPECT_EQ(log_softmax.top(5000).size(), 777U);
}

}  // namespace
}  // namespace tristill
