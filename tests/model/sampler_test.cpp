// Filters one by one and in order, and draws.
#include "model/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <stdexcept>
#include <vector>

#include "model/kernels/kernels.h"

namespace tristill {
namespace {

constexpr uint64_t kSeed = 99;
constexpr float kInfinity = std::numeric_limits<float>::infinity();
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

// Information of 0.5, 0.3, 0.1, 0.1 in nats: 0.69, 1.20, 2.30, 2.30; the entropy is 1.17. The
// second is nearest, then the first, then the others.
TEST(Sampler, TypicalPKeepsWhatIsNearestToTheEntropy) {
  const auto logits = logs({0.5, 0.3, 0.1, 0.1});
  const auto kept = [&](float typical_p) {
    std::set<TokenId> tokens;
    for (const auto& [token, n] : draws(logits, {.typical_p = typical_p}, 2000)) {
      tokens.insert(token);
    }
    return tokens;
  };
  EXPECT_EQ(kept(0.001F), (std::set<TokenId>{1}));
  EXPECT_EQ(kept(0.29F), (std::set<TokenId>{1}));
  EXPECT_EQ(kept(0.31F), (std::set<TokenId>{0, 1}));
  EXPECT_EQ(kept(0.79F), (std::set<TokenId>{0, 1}));
  EXPECT_EQ(kept(0.81F), (std::set<TokenId>{0, 1, 2}));
  EXPECT_EQ(kept(0.95F), (std::set<TokenId>{0, 1, 2, 3}));
}

TEST(Sampler, TypicalPKeepsTheProportionsOfWhatIsLeft) {
  const auto counts = draws(logs({0.5, 0.3, 0.1, 0.1}), {.typical_p = 0.5F}, 20000);
  EXPECT_NEAR(counts.at(0), 12500, 300);
  EXPECT_NEAR(counts.at(1), 7500, 300);
}

TEST(Sampler, TypicalPOfAFlatVocabularyKeepsItsShare) {
  const std::vector<float> flat(1000, 0.0F);
  for (const auto& [token, n] : draws(flat, {.typical_p = 0.25F}, 1000)) EXPECT_LT(token, 250) << n;
}

TEST(Sampler, TypicalPLooksAtWhatTemperatureAndTopKLeave) {
  // Of the best two alone, 0.625 and 0.375, the first is nearer to their entropy of 0.66.
  const auto logits = logs({0.5, 0.3, 0.1, 0.1});
  EXPECT_TRUE(draws(logits, {.typical_p = 0.1F, .top_k = 2}, 100).contains(0));
  // Sharpened so far that the best one has almost all, it is the typical one.
  EXPECT_TRUE(draws(logits, {.temperature = 0.1F, .typical_p = 0.1F}, 100).contains(0));
}

TEST(Sampler, MinPAndTopPLookAtWhatTypicalPLeaves) {
  // typical_p leaves the second, third and fourth; of them the second is the most likely.
  const auto logits = logs({0.3, 0.24, 0.24, 0.22});
  const auto typical = draws(logits, {.typical_p = 0.6F}, 2000);
  ASSERT_FALSE(typical.contains(0));
  ASSERT_EQ(typical.size(), 3U);
  const auto likely = draws(logits, {.typical_p = 0.6F, .min_p = 0.95F}, 2000);
  EXPECT_EQ(likely.size(), 2U);
  EXPECT_FALSE(likely.contains(3));
  EXPECT_EQ(draws(logits, {.top_p = 0.3F, .typical_p = 0.6F}, 2000).size(), 1U);
}

TEST(Sampler, TypicalPOneChangesNoDraw) {
  std::vector<float> logits;
  for (int i = 0; i < 500; ++i) logits.push_back(static_cast<float>((i * 37) % 50) * 0.1F);
  for (uint64_t p = 0; p < 50; ++p) {
    const TokenId plain = sample(logits, {.seed = kSeed}, p);
    EXPECT_EQ(sample(logits, {.typical_p = 1.0F, .seed = kSeed}, p), plain);
    // All but the least typical one: the order of the draw is the same.
    EXPECT_NEAR(sample(logits, {.typical_p = 0.9999F, .seed = kSeed}, p), plain, 2);
  }
}

TEST(Sampler, TypicalPKeepsNoImpossibleToken) {
  std::vector<float> logits(100, -kInfinity);
  logits[17] = 1.0F;
  logits[18] = kNan;
  logits[19] = -1e30F;
  for (const float typical_p : {1e-30F, 0.5F, 0.99999994F}) {
    EXPECT_EQ(sample(logits, {.typical_p = typical_p, .min_p = 1.0F}), 17);
  }
}

TEST(Sampler, TypicalDrawsAreTheSameOnEveryInstructionSet) {
  std::vector<float> logits;
  for (int i = 0; i < 5000; ++i) logits.push_back(static_cast<float>((i * 7919) % 5003) * 2e-3F);
  const auto chosen = [&] {
    std::vector<TokenId> tokens;
    for (uint64_t p = 0; p < 30; ++p) {
      tokens.push_back(sample(logits, {.typical_p = 0.4F, .seed = kSeed}, p));
    }
    return tokens;
  };
  ASSERT_TRUE(kernels::force_isa("scalar"));
  const auto expected = chosen();
  for (auto* const* isa = kernels::runnable(); *isa != nullptr; ++isa) {
    ASSERT_TRUE(kernels::force_isa((*isa)->isa));
    EXPECT_EQ(chosen(), expected) << (*isa)->isa;
  }
  kernels::force_isa("auto");
}

TEST(Sampler, BannedTokensAreNotChosenBeforeTheirTime) {
  const std::vector<float> logits = {3.0F, 2.0F, 1.0F};
  for (const float temperature : {0.0F, 1.0F}) {
    Sampler sampler({.temperature = temperature, .top_k = 1}, {});
    sampler.ban_before(5, {0, -1, 3});
    SamplerScratch scratch;
    EXPECT_EQ(sampler.sample(logits, 0, scratch), 1);
    EXPECT_EQ(sampler.sample(logits, 4, scratch), 1);
    EXPECT_EQ(sampler.sample(logits, 5, scratch), 0);
    EXPECT_FALSE(sampler.is_greedy_from(4));
    EXPECT_EQ(sampler.is_greedy_from(5), temperature == 0.0F);
  }
}

TEST(Sampler, NoBiasLiftsABan) {
  Sampler sampler({.logit_bias = {{0, 1e30F}}}, {});
  sampler.ban_before(1, {0});
  SamplerScratch scratch;
  EXPECT_EQ(sampler.sample(std::vector<float>{3.0F, 2.0F}, 0, scratch), 1);
}

TEST(Sampler, ABanOfEveryTokenThrows) {
  Sampler sampler({}, {});
  sampler.ban_before(1, {0, 1});
  SamplerScratch scratch;
  EXPECT_THROW(sampler.sample(std::vector<float>{3.0F, 2.0F}, 0, scratch), std::runtime_error);
  EXPECT_NO_THROW(sampler.sample(std::vector<float>{3.0F, 2.0F}, 1, scratch));
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

}  // namespace
}  // namespace tristill
