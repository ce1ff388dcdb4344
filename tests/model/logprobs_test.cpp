// Log-probabilities of tokens, of the best ones, and of the rest.
#include "model/logprobs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "model/kernels/kernels.h"

namespace tristill {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

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

// What a chosen token, the n best and the rest have: their log-probabilities.
struct Parts {
  std::vector<float> listed;
  float other;

  double sum() const {
    double sum = std::exp(static_cast<double>(other));
    for (const float x : listed) sum += std::exp(static_cast<double>(x));
    return sum;
  }
};

Parts parts_of(const std::vector<float>& logits, TokenId token, uint32_t n) {
  std::vector<float> scratch;
  const LogSoftmax log_softmax(logits, scratch);
  const auto top = log_softmax.top(n);
  Parts parts{{}, log_softmax.other(token, top, scratch)};
  bool is_listed = false;
  for (const auto& best : top) {
    parts.listed.push_back(best.logprob);
    is_listed |= best.token == token;
  }
  if (!is_listed) parts.listed.push_back(log_softmax.at(token));
  return parts;
}

std::vector<float> random_logits(size_t n, float deviation) {
  std::mt19937 random(n);
  std::vector<float> logits(n);
  for (float& x : logits) {
    x = deviation * (static_cast<float>(random() % 4096) / 1024.0F - 2.0F);
  }
  return logits;
}

TEST(LogSoftmax, ListedAndOtherSumToOne) {
  for (const size_t n : {2UL, 15UL, 300UL, 32000UL, 128256UL}) {
    for (const float deviation : {0.0F, 0.01F, 1.0F, 8.0F, 60.0F}) {
      const auto logits = random_logits(n, deviation);
      for (const uint32_t n_top : {0U, 1U, 5U, 20U}) {
        for (const TokenId token : {TokenId{0}, static_cast<TokenId>(n - 1)}) {
          EXPECT_NEAR(parts_of(logits, token, n_top).sum(), 1.0, 1e-6)
              << n << " logits, deviation " << deviation << ", top " << n_top;
        }
      }
    }
  }
}

TEST(LogSoftmax, AllListedSumToOne) {
  const auto logits = random_logits(5000, 3.0F);
  const Parts parts = parts_of(logits, 7, 5000);
  EXPECT_EQ(parts.other, -kInfinity);
  EXPECT_NEAR(parts.sum(), 1.0, 1e-6);
}

TEST(LogSoftmax, ARestTooSmallForOneMinusTheOthersIsExact) {
  std::vector<float> logits(1001, -40.0F);
  logits[3] = 0.0F;
  const double rest = 1000 * std::exp(-40.0);
  EXPECT_NEAR(parts_of(logits, 3, 0).other, std::log(rest) - std::log1p(rest), 1e-5);
  // Where exp of the kernels gives zero, and where float would.
  for (const float low : {-90.0F, -1e4F, -1e30F}) {
    std::fill(logits.begin(), logits.end(), low);
    logits[3] = 0.0F;
    const Parts parts = parts_of(logits, 3, 1);
    EXPECT_FLOAT_EQ(parts.other, low + std::log(1000.0F)) << low;
    EXPECT_EQ(parts.sum(), 1.0) << low;
  }
}

TEST(LogSoftmax, TheRestOfAnUnlikelyChoiceIsAlmostAll) {
  std::vector<float> logits(1000, 0.0F);
  logits[9] = -50.0F;
  EXPECT_NEAR(parts_of(logits, 9, 0).other, 0.0, 1e-7);
  EXPECT_NEAR(parts_of(logits, 9, 1).other, std::log(998.0 / 999.0), 1e-7);
}

TEST(LogSoftmax, NothingLeftIsMinusInfinity) {
  EXPECT_EQ(parts_of({1.0F, 2.0F}, 0, 2).other, -kInfinity);
  EXPECT_EQ(parts_of({1.0F, 2.0F}, 0, 1).other, -kInfinity);
  EXPECT_EQ(parts_of({1.0F}, 0, 0).other, -kInfinity);
  EXPECT_EQ(parts_of({1.0F, -kInfinity, -kInfinity}, 0, 1).other, -kInfinity);
  EXPECT_EQ(parts_of({3e38F, -3e38F, -3e38F}, 0, 1).other, -kInfinity);
}

std::vector<TokenLogprob> drawn_of(const std::vector<float>& logits, std::vector<double> uniforms) {
  std::vector<float> scratch;
  return LogSoftmax(logits, scratch).draw(uniforms, scratch);
}

TEST(LogSoftmax, DrawsFallWhereTheCumulatedProbabilitiesSay) {
  const std::vector<float> logits = {std::log(0.1F), -kInfinity, std::log(0.5F), std::log(0.4F)};
  const auto drawn = drawn_of(logits, {0.95, 0.0, 0.55, 0.15, 0.3, 0.62, 0.61, 0.99});
  ASSERT_EQ(drawn.size(), 3U);
  const std::vector<std::pair<TokenId, int>> expected = {{3, 4}, {2, 3}, {0, 1}};
  for (size_t i = 0; i < drawn.size(); ++i) {
    EXPECT_EQ(drawn[i].token, expected[i].first);
    EXPECT_FLOAT_EQ(drawn[i].logprob, std::log(static_cast<float>(expected[i].second) / 8.0F));
  }
}

TEST(LogSoftmax, ADrawNextToOneIsOfAPossibleToken) {
  const auto drawn = drawn_of({1.0F, 0.3F, -kInfinity}, {std::nextafter(1.0, 0.0)});
  ASSERT_EQ(drawn.size(), 1U);
  EXPECT_EQ(drawn[0].token, 1);
  EXPECT_EQ(drawn[0].logprob, 0);
}

TEST(LogSoftmax, ManyDrawsHaveTheSharesOfTheDistribution) {
  const auto logits = random_logits(40, 1.5F);
  std::vector<double> uniforms;
  constexpr size_t kDraws = 100000;
  for (size_t i = 0; i < kDraws; ++i) {
    uniforms.push_back((static_cast<double>(i) + 0.5) / static_cast<double>(kDraws));
  }
  std::vector<float> scratch;
  const LogSoftmax log_softmax(logits, scratch);
  for (const TokenLogprob& drawn : log_softmax.draw(uniforms, scratch)) {
    EXPECT_NEAR(std::exp(drawn.logprob), std::exp(log_softmax.at(drawn.token)), 2e-5);
  }
}

TEST(LogSoftmax, TheSameBitsOnEveryInstructionSet) {
  const auto logits = random_logits(32000, 2.5F);
  ASSERT_TRUE(kernels::force_isa("scalar"));
  const Parts expected = parts_of(logits, 77, 5);
  for (auto* const* isa = kernels::runnable(); *isa != nullptr; ++isa) {
    ASSERT_TRUE(kernels::force_isa((*isa)->isa));
    const Parts parts = parts_of(logits, 77, 5);
    EXPECT_EQ(std::bit_cast<uint32_t>(parts.other), std::bit_cast<uint32_t>(expected.other))
        << (*isa)->isa;
    EXPECT_EQ(parts.listed, expected.listed) << (*isa)->isa;
  }
  kernels::force_isa("auto");
}

}  // namespace
}  // namespace tristill
