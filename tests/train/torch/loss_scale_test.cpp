// Precision fp16: the rule of its loss scale, and what the scale does to gradients.
#include "train/run/loss_scale.h"

#include <gtest/gtest.h>
#include <torch/version.h>

#include <cmath>
#include <limits>

#include "tests/support/test_model.h"
#include "tests/train/torch/random_batch.h"
#include "train/run/gradient_step.h"
#include "train/run/precision.h"

namespace tristill::train {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST(LossScale, HalvesWhereAGradientOverflowsAndDoublesAfter2000GoodSteps) {
  LossScale scale(true);
  EXPECT_EQ(scale.scale(), 65536);
  EXPECT_TRUE(scale.count(3.0, kInfinity));
  EXPECT_TRUE(scale.count(3.0, std::nan("")));
  EXPECT_EQ(scale.scale(), 16384);
  EXPECT_EQ(scale.skipped_steps(), 2);
  for (int i = 0; i < 1999; ++i) EXPECT_FALSE(scale.count(3.0, 1.0));
  EXPECT_EQ(scale.scale(), 16384);
  EXPECT_FALSE(scale.count(3.0, 1.0));
  EXPECT_EQ(scale.scale(), 32768);
  // An overflow between them starts the count anew.
  for (int i = 0; i < 1999; ++i) scale.count(3.0, 1.0);
  EXPECT_TRUE(scale.count(3.0, kInfinity));
  for (int i = 0; i < 1999; ++i) scale.count(3.0, 1.0);
  EXPECT_EQ(scale.scale(), 16384);
  EXPECT_EQ(scale.skipped_steps(), 3);
}

TEST(LossScale, IsNotBlamedForALossThatIsNotFiniteOrWhereNoScaleHelps) {
  LossScale scale(true);
  EXPECT_FALSE(scale.count(std::nan(""), std::nan("")));
  EXPECT_EQ(scale.scale(), 65536);
  for (int i = 0; i < 16; ++i) EXPECT_TRUE(scale.count(1.0, kInfinity));
  EXPECT_EQ(scale.scale(), 1);
  EXPECT_FALSE(scale.count(1.0, kInfinity));
  EXPECT_EQ(scale.scale(), 1);
  EXPECT_EQ(scale.skipped_steps(), 16);
}

TEST(LossScale, UnusedItIsOneWhateverComes) {
  LossScale scale(false);
  EXPECT_FALSE(scale.count(1.0, kInfinity));
  for (int i = 0; i < 3000; ++i) scale.count(1.0, 1.0);
  EXPECT_EQ(scale.scale(), 1);
  EXPECT_EQ(scale.skipped_steps(), 0);
  ASSERT_TRUE(scale.from_numbers({4096, 1, 1}));
  EXPECT_EQ(scale.scale(), 1);
}

TEST(LossScale, ASavedOneGoesOnAsItWas) {
  LossScale straight(true);
  straight.count(1.0, kInfinity);
  for (int i = 0; i < 1500; ++i) straight.count(1.0, 1.0);
  LossScale resumed(true);
  ASSERT_TRUE(resumed.from_numbers(straight.to_numbers()));
  EXPECT_EQ(resumed.skipped_steps(), 1);
  for (int i = 0; i < 500; ++i) {
    EXPECT_EQ(resumed.scale(), straight.scale()) << i;
    straight.count(1.0, 1.0);
    resumed.count(1.0, 1.0);
  }
  EXPECT_EQ(resumed.scale(), 65536);
}

TEST(LossScale, DamagedNumbersAreRefused) {
  LossScale scale(true);
  const std::vector<std::vector<double>> bad = {
      {},          {0, 0, 0},    {0.5, 0, 0},   {1, -1, 0},
      {1, 0, 0.5}, {1, 0, 0, 0}, {1e300, 0, 0}, {std::nan(""), 0, 0}};
  for (const auto& numbers : bad) {
    const auto taken = scale.from_numbers(numbers);
    ASSERT_FALSE(taken);
    EXPECT_EQ(taken.error().code, ErrorCode::corrupt);
  }
  EXPECT_EQ(scale.scale(), 65536);
}

// In fp32 nothing underflows or overflows: the scale must leave no trace.
TEST(LossScale, ChangesNoBitOfAGradientThatNeedsNone) {
  const ModelConfig config = test::random_model({.seed = 1}).config;
  const Batch batch = random_batch(config.vocab_size, 4, 32, 5);
  Student student(config, true, at::kFloat, 1);
  for (const int64_t parts : {1, 4}) {
    const Gradients plain = gradients_of(student, batch, {}, {.count = parts}, false);
    const Gradients scaled =
        gradients_of(student, batch, {.scale = LossScale::kFirst}, {.count = parts}, false);
    EXPECT_EQ(plain.sums.weighted, scaled.sums.weighted);
    for (size_t i = 0; i < plain.tensors.size(); ++i) {
      EXPECT_TRUE(plain.tensors[i].equal(scaled.tensors[i])) << student.parameters()[i].name;
    }
  }
}

TEST(Precision, Fp16IsRefusedOnTheCpuWithARemedy) {
  const auto used = use_precision(job::Precision::fp16, at::kCPU);
  ASSERT_FALSE(used);
  EXPECT_EQ(used.error().param, "precision");
  EXPECT_NE(used.error().message.find("set precision to bf16"), std::string::npos);
  EXPECT_TRUE(use_precision(job::Precision::bf16, at::kCPU));
  EXPECT_TRUE(use_precision(job::Precision::fp32, at::kCPU));
}

// What the refusal rests on, and where libtorch can do it, that fp16 with a scale is fp32 but for
// its rounding.
TEST(Precision, Fp16ProductsAreAnErrorOrNearFp32) {
  const ModelConfig config = test::random_model({.seed = 1}).config;
  const Batch batch = random_batch(config.vocab_size, 4, 32, 5);
  Student exact(config, true, at::kFloat, 1);
  Student half(config, true, compute_type(job::Precision::fp16), 1);
  const LossWeights weights{.scale = LossScale::kFirst};
#if TORCH_VERSION_MAJOR >= 2
  const Gradients a = gradients_of(exact, batch, weights, {}, false);
  const Gradients b = gradients_of(half, batch, weights, {}, false);
  for (size_t i = 0; i < a.tensors.size(); ++i) {
    const torch::Tensor& x = a.tensors[i];
    EXPECT_LT((x - b.tensors[i]).norm().item<double>(), 1e-2 * x.norm().item<double>())
        << exact.parameters()[i].name;
  }
#else
  EXPECT_THROW(gradients_of(half, batch, weights, {}, false), c10::Error);
#endif
}

}  // namespace
}  // namespace tristill::train
