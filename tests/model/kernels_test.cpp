// Every ISA's kernels equal the specification (scalar) bit for bit: random shapes, all tails,
// extremes. And scalar against plain arithmetic.
#include "model/kernels/kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "base/random.h"

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

// Panels of random weights: codes 0, 1, 2 or any bytes.
std::vector<uint8_t> random_panels(RandomStream& random, PanelKind kind, size_t cols,
                                   size_t n_panels) {
  std::vector<uint8_t> panels(n_panels * panel_bytes(kind, cols));
  for (auto& byte : panels) {
    byte = static_cast<uint8_t>(random.below(kind == PanelKind::dense ? 243 : 256));
    if (kind != PanelKind::ternary) continue;
    byte = 0;
    for (int k = 0; k < 4; ++k) byte |= static_cast<uint8_t>(random.below(3) << (2 * k));
  }
  return panels;
}

// And whether rows have a bias.
constexpr std::pair<Finish, bool> kFinishes[] = {{Finish::sums, false},
                                                 {Finish::store, false},
                                                 {Finish::add, false},
                                                 {Finish::swiglu, false},
                                                 {Finish::squared_relu_glu, false},
                                                 {Finish::store, true},
                                                 {Finish::add, true},
                                                 {Finish::swiglu, true},
                                                 {Finish::squared_relu_glu, true}};

// A tile as the table quantises it, and the linear layer as it computes it, against scalar.
void expect_linear_equal(const KernelTable& isa, PanelKind kind, const std::vector<uint8_t>& panels,
                         const std::vector<float>& x, size_t tokens, size_t cols, size_t begin,
                         size_t end) {
  const size_t n_panels = panels.size() / panel_bytes(kind, cols);
  // The middle and the low bits of a sliced matrix.
  std::vector<uint8_t> more(2 * n_panels * panel_bytes(PanelKind::ternary, cols));
  for (size_t i = 0; i < more.size(); ++i) {
    more[i] = static_cast<uint8_t>(panels[i % panels.size()] * 37 + i % 251);
  }
  std::vector<float> scale(n_panels * kPanelRows);
  for (size_t i = 0; i < scale.size(); ++i) scale[i] = 0.1F + static_cast<float>(i % 7);
  std::vector<float> bias(n_panels * kPanelRows);
  for (size_t i = 0; i < bias.size(); ++i) bias[i] = 300.1F - 7.3F * static_cast<float>(i);
  const std::vector<float> gain(cols, 1.25F);
  for (const float* norm : {static_cast<const float*>(nullptr), gain.data()}) {
    const float limit = norm == nullptr ? 127.0F : 7.0F;
    std::vector<int8_t> q(tokens * padded_columns(cols), 99), expected_q = q;
    std::vector<float> s(tokens), expected_s(tokens), scratch(cols);
    std::vector<int32_t> sum(tokens), expected_sum(tokens);
    kScalar.quantize_tile(x.data(), cols, norm, 1e-5F, tokens, cols, limit, expected_q.data(),
                          expected_s.data(), expected_sum.data(), scratch.data());
    isa.quantize_tile(x.data(), cols, norm, 1e-5F, tokens, cols, limit, q.data(), s.data(),
                      sum.data(), scratch.data());
    ASSERT_EQ(expected_q, q) << tokens << " x " << cols;
    ASSERT_EQ(expected_sum, sum);
    ASSERT_TRUE(same_bits(expected_s, s));
    for (const auto& [finish, biased] : kFinishes) {
      const size_t ld = (end - begin) * kPanelRows + 3;
      std::vector<float> expected(tokens * ld, 7.0F), actual = expected;
      LinearCall call{.x = {q.data(), s.data(), sum.data(), tokens},
                      .kind = kind,
                      .panels = panels.data(),
                      .middle = more.data(),
                      .low = more.data() + more.size() / 2,
                      .cols = cols,
                      .panel_begin = begin,
                      .panel_end = end,
                      .scale = scale.data(),
                      .bias = biased ? bias.data() : nullptr,
                      .finish = finish,
                      .out = expected.data(),
                      .ld_out = ld};
      kScalar.linear(call);
      call.out = actual.data();
      isa.linear(call);
      ASSERT_TRUE(same_bits(expected, actual))
          << tokens << " tokens, " << cols << " columns, finish " << static_cast<int>(finish)
          << (biased ? ", biased" : "");
    }
  }
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

TEST_P(Kernels, LinearLayersEqualScalar) {
  for (const PanelKind kind : {PanelKind::ternary, PanelKind::dense, PanelKind::int8,
                               PanelKind::int4, PanelKind::sliced}) {
    for (size_t tokens = 1; tokens <= isa().tile_tokens; ++tokens) {
      for (const size_t cols : {size_t{16}, size_t{72}, size_t{100}, size_t{256}, size_t{768}}) {
        if (kind == PanelKind::sliced && cols % step_columns(kind) != 0) continue;
        const auto panels = random_panels(random_, kind, cols, 3);
        expect_linear_equal(isa(), kind, panels, floats(tokens * cols, 9.0F), tokens, cols, 0, 3);
        expect_linear_equal(isa(), kind, panels, floats(tokens * cols, 9.0F), tokens, cols, 1, 2);
      }
    }
  }
}

TEST_P(Kernels, LinearLayersAreExactAtTheExtremes) {
  constexpr size_t kCols = 6912;
  for (const float x : {-1.0F, 0.0F, 1.0F}) {
    const std::vector<float> tokens(isa().tile_tokens * kCols, x);
    struct Extreme {
      PanelKind kind;
      uint8_t byte;
    };
    for (const Extreme& e : {Extreme{PanelKind::ternary, 0x00}, Extreme{PanelKind::ternary, 0xAA},
                             Extreme{PanelKind::dense, 0}, Extreme{PanelKind::dense, 242},
                             Extreme{PanelKind::int8, 0x80}, Extreme{PanelKind::int8, 0x7F},
                             Extreme{PanelKind::ternary, 0xFF}, Extreme{PanelKind::int4, 0x00},
                             Extreme{PanelKind::int4, 0xFF}, Extreme{PanelKind::sliced, 0x00},
                             Extreme{PanelKind::sliced, 0xFF}}) {
      const std::vector<uint8_t> panels(panel_bytes(e.kind, kCols), e.byte);
      for (const size_t n : {size_t{1}, isa().tile_tokens}) {
        expect_linear_equal(isa(), e.kind, panels, tokens, n, kCols, 0, 1);
      }
    }
  }
}

// A cache of one head, its blocks out of order.
struct OneHead {
  OneHead(KvFormat format, size_t head_dim, size_t positions)
      : memory(positions / 16 * kv_head_bytes(format, head_dim) + 2 * 4096, 0) {
    const size_t n = positions / 16 + 1;
    for (size_t b = 0; b < n; ++b) blocks.push_back(static_cast<uint32_t>(b * 5 % n));
    if (n % 5 == 0) std::iota(blocks.begin(), blocks.end(), 0U);
    memory.resize(n * kv_head_bytes(format, head_dim));
    head = {format, memory.data(), kv_head_bytes(format, head_dim), blocks.data(), head_dim};
  }
  std::vector<uint8_t> memory;
  std::vector<uint32_t> blocks;
  KvHead head{};
};

void expect_attention_equal(const KernelTable& isa, KvFormat format, size_t dim, size_t length,
                            size_t n_queries, RandomStream& random, uint32_t window = 0,
                            float softcap = 0) {
  const auto random_row = [&](float size) {
    std::vector<float> row(dim);
    for (auto& v : row) v = static_cast<float>(random.uniform() * 2.0 - 1.0) * size;
    return row;
  };
  OneHead expected_kv(format, dim, length), actual_kv(format, dim, length);
  for (size_t p = 0; p < length; ++p) {
    // Also halves that are subnormal, and values beyond the greatest half.
    const float size = p % 7 == 3 ? 1e-6F : p % 11 == 5 ? 1e6F : 2.0F;
    const auto key = random_row(2.0F);
    const auto value = random_row(size);
    kScalar.store_kv(expected_kv.head, p, key.data(), value.data());
    isa.store_kv(actual_kv.head, p, key.data(), value.data());
  }
  std::vector<std::vector<float>> q, expected, actual;
  std::vector<const float*> q_rows;
  std::vector<float*> expected_rows, actual_rows;
  std::vector<uint32_t> lengths;
  for (size_t i = 0; i < n_queries; ++i) {
    q.push_back(random_row(1.0F));
    expected.emplace_back(dim, 3.0F);
    actual.emplace_back(dim, 3.0F);
    lengths.push_back(static_cast<uint32_t>(length - std::min(length - 1, (n_queries - i) / 2)));
  }
  for (size_t i = 0; i < n_queries; ++i) {
    q_rows.push_back(q[i].data());
    expected_rows.push_back(expected[i].data());
    actual_rows.push_back(actual[i].data());
  }
  std::vector<float> scores(8 * (length + dim + 32));
  kScalar.attend({expected_kv.head, q_rows.data(), expected_rows.data(), lengths.data(), n_queries,
                  scores.data(), window, softcap});
  isa.attend({actual_kv.head, q_rows.data(), actual_rows.data(), lengths.data(), n_queries,
              scores.data(), window, softcap});
  for (size_t i = 0; i < n_queries; ++i) {
    ASSERT_TRUE(same_bits(expected[i], actual[i]))
        << "format " << static_cast<int>(format) << ", dim " << dim << ", length " << length
        << ", window " << window << ", query " << i << " of " << n_queries;
  }
}

TEST_P(Kernels, AttentionEqualsScalar) {
  for (const KvFormat format : {KvFormat::fp16, KvFormat::int8}) {
    for (const size_t dim : {size_t{12}, size_t{16}, size_t{64}, size_t{80}, size_t{128}}) {
      for (size_t n_queries = 1; n_queries <= 13; ++n_queries) {
        expect_attention_equal(isa(), format, dim, 1 + random_.below(200), n_queries, random_);
      }
      for (const size_t length : {1, 15, 16, 17, 192, 193}) {
        expect_attention_equal(isa(), format, dim, static_cast<size_t>(length), 3, random_);
      }
      for (const uint32_t window : {1, 5, 16, 33, 199, 400}) {
        expect_attention_equal(isa(), format, dim, 200, 7, random_, window);
        expect_attention_equal(isa(), format, dim, 200, 7, random_, window, 0.5F);
      }
    }
  }
}

void expect_quantized_equal(const KernelTable& isa, const std::vector<float>& x, size_t tokens,
                            size_t cols, float limit) {
  std::vector<int8_t> q(x.size()), expected_q(x.size());
  std::vector<float> scale(tokens), expected_scale(tokens);
  std::vector<int32_t> sum(tokens), expected_sum(tokens);
  kScalar.quantize_tokens(x.data(), tokens, cols, limit, expected_q.data(), expected_scale.data(),
                          expected_sum.data());
  isa.quantize_tokens(x.data(), tokens, cols, limit, q.data(), scale.data(), sum.data());
  ASSERT_EQ(expected_q, q) << cols;
  ASSERT_EQ(expected_sum, sum) << cols;
  ASSERT_TRUE(same_bits(expected_scale, scale)) << cols;
  for (const int8_t value : q) ASSERT_LE(std::abs(int{value}), static_cast<int>(limit));
}

// Of 8 bits and of 4.
void expect_quantized_equal(const KernelTable& isa, const std::vector<float>& x, size_t tokens,
                            size_t cols) {
  expect_quantized_equal(isa, x, tokens, cols, 127.0F);
  expect_quantized_equal(isa, x, tokens, cols, 7.0F);
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

TEST_P(Kernels, BoundsEqualScalarAndHold) {
  for (size_t n = 0; n <= 70; ++n) {
    std::vector<int32_t> sums(n);
    for (auto& s : sums) s = static_cast<int32_t>(random_.below(2000000)) - 1000000;
    const auto radius = floats(n, 50.0F);
    const auto scale = floats(n);
    const SumBound bound{16.0F, -123.5F, radius.data(), 2000.0F};
    const float expected = kScalar.greatest_bound(sums.data(), bound, scale.data(), n);
    ASSERT_TRUE(same_bits(expected, isa().greatest_bound(sums.data(), bound, scale.data(), n)))
        << n;
    for (size_t r = 0; r < n; ++r) {
      if (scale[r] < 0.0F) continue;
      const double most = 16.0 * sums[r] - 123.5 + static_cast<double>(radius[r]) * 2000.0;
      ASSERT_GE(expected, static_cast<float>(most) * scale[r]) << r;
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
    kScalar.rms_norm(gate.data(), up.data(), 1e-5F, x.data(), 1, n);
    y = gate;  // in place
    isa().rms_norm(y.data(), up.data(), 1e-5F, y.data(), 1, n);
    ASSERT_TRUE(same_bits(x, y)) << n;
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

// Attention as the formula has it, in double precision.
TEST(Scalar, ABiasIsAddedToTheRoundedProduct) {
  const size_t cols = 16;
  std::vector<uint8_t> panel(panel_bytes(PanelKind::ternary, cols), 0xAA);  // every weight is 1
  std::vector<int8_t> q(padded_columns(cols));
  std::fill_n(q.begin(), cols, static_cast<int8_t>(3));
  const float token_scale = 0.1F;
  const int32_t sum = 48;
  const std::vector<float> scale(2, 0.7F);
  std::vector<float> bias(kPanelRows), out(kPanelRows, 5.0F);
  for (size_t i = 0; i < bias.size(); ++i) bias[i] = static_cast<float>(i) / 3.0F;
  kScalar.linear({.x = {q.data(), &token_scale, &sum, 1},
                  .kind = PanelKind::ternary,
                  .panels = panel.data(),
                  .cols = cols,
                  .panel_begin = 0,
                  .panel_end = 1,
                  .scale = scale.data(),
                  .bias = bias.data(),
                  .finish = Finish::add,
                  .out = out.data(),
                  .ld_out = kPanelRows});
  const float product = 48.0F * (0.7F * 0.1F);
  for (size_t i = 0; i < bias.size(); ++i) EXPECT_EQ(out[i], 5.0F + (product + bias[i])) << i;
}

TEST(Scalar, AttentionIsTheWeightedMeanOfTheValues) {
  for (const KvFormat format : {KvFormat::fp16, KvFormat::int8}) {
    RandomStream random(kSeed, 1);
    constexpr size_t kDim = 24, kLength = 37;
    OneHead kv(format, kDim, kLength);
    std::vector<std::vector<float>> keys, values;
    for (size_t p = 0; p < kLength; ++p) {
      keys.emplace_back();
      values.emplace_back();
      for (size_t d = 0; d < kDim; ++d) {
        keys[p].push_back(static_cast<float>(random.uniform() - 0.5));
        values[p].push_back(static_cast<float>(random.uniform() - 0.5));
      }
      kScalar.store_kv(kv.head, p, keys[p].data(), values[p].data());
    }
    std::vector<float> q(kDim, 0.3F), out(kDim), scores(8 * (kLength + kDim + 32));
    const float* q_row = q.data();
    float* out_row = out.data();
    const uint32_t length = kLength;
    kScalar.attend({kv.head, &q_row, &out_row, &length, 1, scores.data()});
    double total = 0;
    std::vector<double> expected(kDim);
    for (size_t p = 0; p < kLength; ++p) {
      double s = 0;
      for (size_t d = 0; d < kDim; ++d) s += static_cast<double>(q[d] * keys[p][d]);
      total += std::exp(s);
      for (size_t d = 0; d < kDim; ++d) {
        expected[d] += std::exp(s) * static_cast<double>(values[p][d]);
      }
    }
    const double tolerance = format == KvFormat::fp16 ? 2e-4 : 4e-3;
    for (size_t d = 0; d < kDim; ++d) {
      EXPECT_NEAR(static_cast<double>(out[d]), expected[d] / total, tolerance);
    }
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
