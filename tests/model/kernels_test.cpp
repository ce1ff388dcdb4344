// Every ISA's kernels equal the specification (scalar) bit for bit: random shapes, all tails,
// extremes. And scalar against plain arithmetic.
#include "model/kernels/kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "base/random.h"
#include "model/ternary.h"

namespace tristill::kernels {
namespace {

constexpr uint64_t kSeed = 20240611;
constexpr size_t kMaxColumns = 600;

class Kernels : public testing::TestWithParam<const KernelTable*> {
 protected:
  void SetUp() override { RecordProperty("seed", std::to_string(kSeed)); }
  const KernelTable& isa() const { return *GetParam(); }
  RandomStream random_{kSeed, 0};

  std::vector<float> floats(size_t n, float scale = 1.0F) {
    std::vector<float> x(n);
    for (auto& v : x) v = static_cast<float>(random_.uniform() * 2.0 - 1.0) * scale;
    return x;
  }
  std::vector<int8_t> bytes(size_t n, int limit) {
    std::vector<int8_t> x(n);
    const auto range = static_cast<uint64_t>(2 * limit + 1);
    for (auto& v : x) v = static_cast<int8_t>(static_cast<int>(random_.below(range)) - limit);
    return x;
  }
};

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}
bool same_bits(float a, float b) { return std::memcmp(&a, &b, sizeof a) == 0; }

std::vector<int32_t> row_sums(const std::vector<int8_t>& w, size_t rows, size_t cols) {
  std::vector<int32_t> sums(rows);
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = 0; c < cols; ++c) sums[r] += w[r * cols + c];
  }
  return sums;
}

void expect_int8_equal(const KernelTable& isa, const std::vector<int8_t>& q,
                       const std::vector<int8_t>& w, size_t tokens, size_t rows, size_t cols,
                       size_t begin, size_t end) {
  const auto sums = row_sums(w, rows, cols);
  const Int8View view{w.data(), sums.data(), rows, cols};
  const size_t ld = end - begin + 3;
  std::vector<int32_t> expected(tokens * ld, 7);
  auto actual = expected;
  kScalar.int8_gemm(q.data(), tokens, view, begin, end, expected.data(), ld);
  isa.int8_gemm(q.data(), tokens, view, begin, end, actual.data(), ld);
  ASSERT_EQ(expected, actual) << tokens << " tokens, rows " << begin << ".." << end << " of "
                              << rows << ", " << cols << " columns";
}

void expect_ternary_equal(const KernelTable& isa, const std::vector<int8_t>& q,
                          const std::vector<int8_t>& w, size_t tokens, size_t rows, size_t cols,
                          size_t begin, size_t end) {
  std::vector<uint8_t> packed(rows * packed_ternary_bytes(cols));
  pack_ternary(w.data(), rows, cols, packed.data());
  const auto sums = row_sums(q, tokens, cols);
  const TernaryView view{packed.data(), rows, cols};
  const size_t ld = end - begin + 3;
  std::vector<int32_t> expected(tokens * ld, 7);
  auto actual = expected;
  kScalar.ternary_gemm(q.data(), sums.data(), tokens, view, begin, end, expected.data(), ld);
  isa.ternary_gemm(q.data(), sums.data(), tokens, view, begin, end, actual.data(), ld);
  ASSERT_EQ(expected, actual) << tokens << " tokens, rows " << begin << ".." << end << " of "
                              << rows << ", " << cols << " columns";
}

TEST_P(Kernels, Int8ProductsEqualScalarForEveryColumnCount) {
  for (size_t cols = 1; cols <= kMaxColumns; ++cols) {
    const size_t tokens = 1 + random_.below(30);
    const size_t rows = 1 + random_.below(40);
    const size_t begin = random_.below(rows);
    expect_int8_equal(isa(), bytes(tokens * cols, 127), bytes(rows * cols, 127), tokens, rows, cols,
                      begin, begin + random_.below(rows - begin + 1));
  }
}

TEST_P(Kernels, Int8ProductsEqualScalarAcrossColumnAndTokenBlocks) {
  expect_int8_equal(isa(), bytes(250 * 1031, 127), bytes(35 * 1031, 127), 250, 35, 1031, 0, 35);
  expect_int8_equal(isa(), bytes(13 * 4100, 127), bytes(70 * 4100, 127), 13, 70, 4100, 1, 69);
  expect_int8_equal(isa(), bytes(495 * 64, 127), bytes(33 * 64, 127), 495, 33, 64, 0, 33);
}

TEST_P(Kernels, Int8ProductsAreExactAtTheExtremes) {
  for (const int x : {-127, 0, 127}) {
    for (const int w : {-128, -127, 0, 127}) {
      for (const size_t tokens : {1, 3, 8, 9, 12, 25}) {
        const size_t cols = 2111;
        expect_int8_equal(isa(), std::vector<int8_t>(tokens * cols, static_cast<int8_t>(x)),
                          std::vector<int8_t>(9 * cols, static_cast<int8_t>(w)), tokens, 9, cols, 0,
                          9);
      }
    }
  }
}

TEST_P(Kernels, TernaryProductsEqualScalar) {
  for (size_t tokens = 1; tokens <= 40; ++tokens) {
    const size_t cols = kTernaryBlock * (1 + random_.below(6));
    const size_t rows = 1 + random_.below(70);
    const size_t begin = random_.below(rows);
    expect_ternary_equal(isa(), bytes(tokens * cols, 127), bytes(rows * cols, 1), tokens, rows,
                         cols, begin, begin + random_.below(rows - begin + 1));
  }
}

TEST_P(Kernels, TernaryProductsAreExactAtTheExtremes) {
  for (const int x : {-127, 0, 127}) {
    for (const int w : {-1, 0, 1}) {
      for (const size_t tokens : {1, 2, 4, 8, 9, 13}) {
        const size_t cols = 2048;
        expect_ternary_equal(isa(), std::vector<int8_t>(tokens * cols, static_cast<int8_t>(x)),
                             std::vector<int8_t>(6 * cols, static_cast<int8_t>(w)), tokens, 6, cols,
                             0, 6);
      }
    }
  }
}

void expect_quantized_equal(const KernelTable& isa, const std::vector<float>& x, size_t tokens,
                            size_t cols) {
  std::vector<int8_t> q(x.size()), expected_q(x.size());
  std::vector<float> scale(tokens), expected_scale(tokens);
  std::vector<int32_t> sum(tokens), expected_sum(tokens);
  kScalar.quantize_tokens(x.data(), tokens, cols, expected_q.data(), expected_scale.data(),
                          expected_sum.data());
  isa.quantize_tokens(x.data(), tokens, cols, q.data(), scale.data(), sum.data());
  ASSERT_EQ(expected_q, q) << cols;
  ASSERT_EQ(expected_sum, sum) << cols;
  ASSERT_TRUE(same_bits(expected_scale, scale)) << cols;
}

TEST_P(Kernels, QuantisationEqualsScalar) {
  for (size_t cols = 1; cols <= kMaxColumns; ++cols) {
    expect_quantized_equal(isa(), floats(3 * cols, 10.0F), 3, cols);
  }
  const float tiny = std::numeric_limits<float>::denorm_min();
  const float huge = std::numeric_limits<float>::max();
  expect_quantized_equal(isa(), std::vector<float>(70, 0.0F), 2, 35);
  expect_quantized_equal(isa(), std::vector<float>(70, -0.0F), 2, 35);
  expect_quantized_equal(isa(), std::vector<float>(70, tiny), 2, 35);
  expect_quantized_equal(isa(), std::vector<float>(70, 1e-38F), 2, 35);
  expect_quantized_equal(isa(), std::vector<float>(70, 4e-37F), 2, 35);
  expect_quantized_equal(isa(), std::vector<float>(70, huge), 2, 35);
  // Halves: 127 makes the scale 1, so x + 0.5 must go to the even neighbour.
  std::vector<float> halves = {127.0F};
  for (int i = -127; i < 127; ++i) halves.push_back(static_cast<float>(i) + 0.5F);
  expect_quantized_equal(isa(), halves, 1, halves.size());
}

TEST_P(Kernels, SumsFollowTheOneOrder) {
  for (size_t n = 0; n <= kMaxColumns; ++n) {
    const auto a = floats(n);
    const auto b = floats(n, 1e3F);
    ASSERT_TRUE(same_bits(kScalar.dot(a.data(), b.data(), n), isa().dot(a.data(), b.data(), n)))
        << n;
    auto x = floats(n, 20.0F);
    auto y = x;
    ASSERT_TRUE(same_bits(kScalar.exp_sum(x.data(), 7.0F, n), isa().exp_sum(y.data(), 7.0F, n)))
        << n;
    ASSERT_TRUE(same_bits(x, y)) << n;
  }
}

TEST_P(Kernels, RowsOfDotsAndAxpysEqualTheirSingles) {
  for (const size_t n : {1, 15, 16, 32, 40, 64, 80, 100, 128}) {
    for (const size_t rows : {0, 1, 15, 16, 17, 33}) {
      const size_t ld = n + 5;
      const auto matrix = floats((rows + 1) * ld);
      const auto a = floats(n);
      std::vector<float> expected(rows), actual(rows);
      kScalar.dot_rows(a.data(), matrix.data(), ld, rows, n, expected.data());
      isa().dot_rows(a.data(), matrix.data(), ld, rows, n, actual.data());
      ASSERT_TRUE(same_bits(expected, actual)) << n << " x " << rows;
      const auto weights = floats(rows);
      auto y = floats(n);
      auto z = y;
      kScalar.axpy_rows(weights.data(), matrix.data(), ld, rows, y.data(), n);
      isa().axpy_rows(weights.data(), matrix.data(), ld, rows, z.data(), n);
      ASSERT_TRUE(same_bits(y, z)) << n << " x " << rows;
    }
  }
}

TEST_P(Kernels, ElementwiseFunctionsEqualScalar) {
  for (size_t n = 1; n <= kMaxColumns; ++n) {
    const auto gate = floats(n, 100.0F);
    const auto up = floats(n);
    std::vector<float> x(n), y(n);
    kScalar.swiglu(gate.data(), up.data(), x.data(), n);
    isa().swiglu(gate.data(), up.data(), y.data(), n);
    ASSERT_TRUE(same_bits(x, y)) << n;
    kScalar.squared_relu_glu(gate.data(), up.data(), x.data(), n);
    isa().squared_relu_glu(gate.data(), up.data(), y.data(), n);
    ASSERT_TRUE(same_bits(x, y)) << n;
    x = y = up;
    kScalar.axpy(0.3F, gate.data(), x.data(), n);
    isa().axpy(0.3F, gate.data(), y.data(), n);
    ASSERT_TRUE(same_bits(x, y)) << n;
    kScalar.rms_norm(gate.data(), up.data(), 1e-5F, x.data(), 1, n);
    y = gate;  // in place
    isa().rms_norm(y.data(), up.data(), 1e-5F, y.data(), 1, n);
    ASSERT_TRUE(same_bits(x, y)) << n;
    std::vector<int32_t> sums(n);
    for (auto& s : sums) s = static_cast<int32_t>(random_.below(1U << 26)) - (1 << 25);
    for (const size_t step : {0, 1}) {
      kScalar.scale_sums(sums.data(), up.data(), step, 0.7F, x.data(), n);
      isa().scale_sums(sums.data(), up.data(), step, 0.7F, y.data(), n);
      ASSERT_TRUE(same_bits(x, y)) << n;
    }
    x = floats(2 * n);
    y = x;
    kScalar.rotate_half(x.data(), gate.data(), up.data(), n);
    isa().rotate_half(y.data(), gate.data(), up.data(), n);
    ASSERT_TRUE(same_bits(x, y)) << n;
  }
}

TEST_P(Kernels, FloatFunctionsEqualScalarAtTheExtremes) {
  const std::vector<float> edges = {
      0.0F,   -0.0F,   1e-45F, -1e-45F, 1e-38F, -1e-38F, 86.9F,
      -86.9F, 87.0F,   -87.0F, 87.1F,   -87.1F, 88.1F,   -88.1F,
      200.0F, -200.0F, 3e38F,  -3e38F,  0.5F,   -1.0F,   -std::numeric_limits<float>::infinity()};
  std::vector<float> x(edges), y(edges);
  EXPECT_TRUE(same_bits(kScalar.exp_sum(x.data(), 0.0F, x.size()),
                        isa().exp_sum(y.data(), 0.0F, y.size())));
  EXPECT_TRUE(same_bits(x, y));
  const std::vector<float> ones(edges.size(), -1.0F);
  const auto finite = edges.size() - 1;
  kScalar.swiglu(edges.data(), ones.data(), x.data(), finite);
  isa().swiglu(edges.data(), ones.data(), y.data(), finite);
  EXPECT_TRUE(same_bits(x, y));
  kScalar.squared_relu_glu(edges.data(), ones.data(), x.data(), finite);
  isa().squared_relu_glu(edges.data(), ones.data(), y.data(), finite);
  EXPECT_TRUE(same_bits(x, y));
  const std::vector<float> zeros(33, 0.0F);
  std::vector<float> a(33), b(33);
  kScalar.rms_norm(zeros.data(), zeros.data(), 0.0F, a.data(), 1, 33);
  kScalar.rms_norm(zeros.data(), zeros.data(), 1e-6F, a.data(), 1, 33);
  isa().rms_norm(zeros.data(), zeros.data(), 1e-6F, b.data(), 1, 33);
  EXPECT_TRUE(same_bits(a, b));
}

INSTANTIATE_TEST_SUITE_P(EveryIsa, Kernels, testing::ValuesIn([] {
                           std::vector<const KernelTable*> tables;
                           for (auto* const* table = runnable(); *table != nullptr; ++table) {
                             tables.push_back(*table);
                           }
                           return tables;
                         }()),
                         [](const auto& param) { return std::string(param.param->isa); });

TEST(Scalar, ProductsAreTheSumsOfProducts) {
  RandomStream random(kSeed, 1);
  constexpr size_t kRows = 3, kCols = 256;
  std::vector<int8_t> q(kCols), w(kRows * kCols);
  for (auto& v : q) v = static_cast<int8_t>(static_cast<int>(random.below(255)) - 127);
  for (auto& v : w) v = static_cast<int8_t>(static_cast<int>(random.below(3)) - 1);
  std::vector<uint8_t> packed(kRows * packed_ternary_bytes(kCols));
  pack_ternary(w.data(), kRows, kCols, packed.data());
  int32_t acc[kRows];
  kScalar.ternary_gemm(q.data(), nullptr, 1, {packed.data(), kRows, kCols}, 0, kRows, acc, kRows);
  for (size_t r = 0; r < kRows; ++r) {
    int expected = 0;
    for (size_t c = 0; c < kCols; ++c) expected += q[c] * w[r * kCols + c];
    EXPECT_EQ(acc[r], expected);
  }
}

TEST(Scalar, ExponentialIsWithinTwoUnitsInTheLastPlace) {
  for (double t = -87.0; t <= 0.0; t += 0.0037) {
    float x = static_cast<float>(t);
    const double exact = std::exp(static_cast<double>(x));
    kScalar.exp_sum(&x, 0.0F, 1);
    ASSERT_NEAR(x / exact, 1.0, 2.5e-7) << t;
  }
  float below = -87.5F;
  EXPECT_EQ(kScalar.exp_sum(&below, 0.0F, 1), 0.0F);
}

TEST(Dispatch, NamesAreForcedAndUnknownOnesRefused) {
  EXPECT_TRUE(force_isa("scalar"));
  EXPECT_STREQ(best().isa, "scalar");
  EXPECT_FALSE(force_isa("sse9"));
  EXPECT_STREQ(best().isa, "scalar");
  EXPECT_TRUE(force_isa("auto"));
  const KernelTable* last = nullptr;
  for (auto* const* table = runnable(); *table != nullptr; ++table) last = *table;
  EXPECT_EQ(&best(), last);
}

}  // namespace
}  // namespace tristill::kernels
