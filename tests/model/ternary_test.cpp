// The ternary contract: reference vectors T1-T3, the packing, hostile input.
#include "model/ternary.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include "model/kernels/kernels.h"
#include "model/panels.h"

namespace tristill {
namespace {

const std::vector<float> kWeights = {0.1F, -0.4F, 0.05F, 0.9F, -0.2F, 0.3F, -0.7F, 0.0F};
const std::vector<float> kInput = {1.0F, -2.0F, 0.5F, 0.003F};

TEST(Ternary, AbsmeanRoundsToReferenceVectorT1) {
  std::vector<int8_t> ternary(8);
  EXPECT_FLOAT_EQ(ternarize(kWeights, ternary), 0.33125F);
  EXPECT_EQ(ternary, (std::vector<int8_t>{0, -1, 0, 1, -1, 1, -1, 0}));
}

TEST(Ternary, ActivationsQuantizeToReferenceVectorT2) {
  int8_t q[4];
  float scale = 0.0F;
  int32_t sum = 0;
  kernels::kScalar.quantize_tokens(kInput.data(), 1, 4, 127.0F, q, &scale, &sum);
  EXPECT_EQ(std::vector<int8_t>(q, q + 4), (std::vector<int8_t>{64, -127, 32, 0}));
  EXPECT_FLOAT_EQ(scale, 2.0F / 127.0F);
  EXPECT_EQ(sum, -31);
}

TEST(Ternary, FourBitActivationsRoundHalfToEvenWithinSeven) {
  int8_t q[4];
  float scale = 0.0F;
  int32_t sum = 0;
  kernels::kScalar.quantize_tokens(kInput.data(), 1, 4, 7.0F, q, &scale, &sum);
  EXPECT_EQ(std::vector<int8_t>(q, q + 4), (std::vector<int8_t>{4, -7, 2, 0}));  // 3.5 is a tie
  EXPECT_FLOAT_EQ(scale, 2.0F / 7.0F);
  EXPECT_EQ(sum, -1);
}

// Vector T13, whose fixed grid of +-4 gave 3.73 for the 10: a scale a token holds the largest.
TEST(Ternary, FourBitActivationsOfVectorT13KeepTheLargest) {
  const float x[] = {0.02F, 0.3F, -1.0F, 3.9F, 10.0F};
  int8_t q[5];
  float scale = 0.0F;
  int32_t sum = 0;
  kernels::kScalar.quantize_tokens(x, 1, 5, 7.0F, q, &scale, &sum);
  EXPECT_EQ(std::vector<int8_t>(q, q + 5), (std::vector<int8_t>{0, 0, -1, 3, 7}));
  EXPECT_FLOAT_EQ(static_cast<float>(q[4]) * scale, 10.0F);
}

TEST(Ternary, LinearLayerGivesReferenceVectorT3) {
  IntegerMatrix w{.rows = 2, .cols = 4, .values = std::vector<int8_t>(8)};
  w.scale = {ternarize(kWeights, w.values)};
  const IntegerMatrix* parts[] = {&w};
  PanelMatrix panels = panel_shape(kernels::PanelKind::ternary, Stacking::sequence, parts);
  std::vector<uint8_t> memory(panels.bytes());
  panels.data = memory.data();
  ThreadTeam team(1);
  fill_panels(panels, Stacking::sequence, parts, team);
  int8_t q[kernels::padded_columns(4)];
  float scale = 0.0F;
  int32_t sum = 0;
  kernels::kScalar.quantize_tile(kInput.data(), 4, nullptr, 0.0F, 1, 4, 127.0F, q, &scale, &sum,
                                 nullptr);
  float y[32];
  kernels::kScalar.linear({.x = {q, &scale, &sum, 1},
                           .kind = panels.kind,
                           .panels = panels.data,
                           .cols = panels.cols,
                           .panel_begin = 0,
                           .panel_end = 1,
                           .scale = panels.scale.data(),
                           .finish = kernels::Finish::store,
                           .out = y,
                           .ld_out = 32});
  EXPECT_NEAR(y[0], 0.6625000F, 1e-6F);
  EXPECT_NEAR(y[1], -1.1632874F, 1e-6F);
  EXPECT_EQ(y[2], 0.0F);
}

TEST(Ternary, HalfGammaRoundsToEvenZero) {
  const std::vector<float> weights = {0.5F, -0.5F, 1.5F, -1.5F};  // mean |W| is 1
  std::vector<int8_t> ternary(4);
  EXPECT_EQ(ternarize(weights, ternary), 1.0F);
  EXPECT_EQ(ternary, (std::vector<int8_t>{0, 0, 1, -1}));
}

TEST(Ternary, ZerosGiveGammaZero) {
  std::vector<int8_t> ternary(3, 5);
  EXPECT_EQ(ternarize(std::vector<float>(3, 0.0F), ternary), 0.0F);
  EXPECT_EQ(ternary, (std::vector<int8_t>{0, 0, 0}));
}

TEST(Ternary, NonFiniteWeightsAreRefused) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    const std::vector<float> weights = {1.0F, bad};
    std::vector<int8_t> out(2);
    float scale = 0.0F;
    EXPECT_THROW(ternarize(weights, out), std::domain_error);
    EXPECT_THROW(quantize_rows_int8(weights.data(), 1, 2, out.data(), &scale), std::domain_error);
  }
}

TEST(Ternary, RowsQuantizeByTheirAbsmax) {
  const std::vector<float> w = {127.0F, 0.5F, -1.5F, 0.0F, 0.0F, 0.0F};
  std::vector<int8_t> q(6);
  float scale[2];
  quantize_rows_int8(w.data(), 2, 3, q.data(), scale);
  EXPECT_EQ(q, (std::vector<int8_t>{127, 0, -2, 0, 0, 0}));
  EXPECT_EQ(scale[0], 1.0F);
  EXPECT_EQ(scale[1], 0.0F);
}

TEST(Ternary, PackingHasTheDocumentedLayoutAndRoundTrips) {
  constexpr size_t kRows = 2, kCols = 512;
  std::vector<int8_t> ternary(kRows * kCols);
  for (size_t i = 0; i < ternary.size(); ++i) {
    ternary[i] = static_cast<int8_t>(static_cast<int>((i * i + i / 7) % 3) - 1);
  }
  std::vector<uint8_t> packed(kRows * packed_ternary_bytes(kCols));
  pack_ternary(ternary.data(), kRows, kCols, packed.data());
  for (size_t i = 0; i < ternary.size(); ++i) {
    const size_t half = i / 128, within = i % 128;
    const int code = (packed[half * 32 + within % 32] >> (2 * (within / 32))) & 3;
    ASSERT_EQ(code - 1, ternary[i]) << i;
  }
  std::vector<int8_t> back(ternary.size());
  EXPECT_TRUE(unpack_ternary(packed.data(), kRows, kCols, back.data()));
  EXPECT_EQ(back, ternary);
}

TEST(Ternary, RowsThatAreNoWholeBlocksArePaddedWithZeroWeights) {
  constexpr size_t kRows = 3, kCols = 320;
  std::vector<int8_t> ternary(kRows * kCols);
  for (size_t i = 0; i < ternary.size(); ++i) ternary[i] = static_cast<int8_t>(1 - (i % 3));
  ASSERT_EQ(packed_ternary_bytes(kCols), 128U);
  std::vector<uint8_t> packed(kRows * 128);
  pack_ternary(ternary.data(), kRows, kCols, packed.data());
  std::vector<int8_t> whole(kRows * 512);
  ASSERT_TRUE(unpack_ternary(packed.data(), kRows, 512, whole.data()));
  for (size_t i = 0; i < whole.size(); ++i) {
    const size_t c = i % 512;
    ASSERT_EQ(whole[i], c < kCols ? ternary[i / 512 * kCols + c] : 0) << i;
  }
  std::vector<int8_t> back(ternary.size());
  EXPECT_TRUE(unpack_ternary(packed.data(), kRows, kCols, back.data()));
  EXPECT_EQ(back, ternary);
  packed.back() = 0;  // weights of -1 beyond the columns
  EXPECT_FALSE(unpack_ternary(packed.data(), kRows, kCols, back.data()));
}

TEST(Ternary, CodeThreeIsRefused) {
  for (const int shift : {0, 2, 4, 6}) {
    std::vector<uint8_t> packed(64, 0x55);
    packed[63] = static_cast<uint8_t>(3U << shift);
    std::vector<int8_t> out(256);
    EXPECT_FALSE(unpack_ternary(packed.data(), 1, 256, out.data())) << shift;
  }
}

}  // namespace
}  // namespace tristill
