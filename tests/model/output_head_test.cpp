// The sliced head is the int8 matrix, and the shortlist finds its greatest logit.
#include "model/output_head.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "base/random.h"
#include "model/kernels/kernels.h"
#include "model/logprobs.h"
#include "model/shortlist.h"

namespace tristill {
namespace {

IntegerMatrix random_rows(size_t rows, size_t cols, uint64_t stream) {
  RandomStream random(7, stream);
  IntegerMatrix m{.rows = rows, .cols = cols, .values = std::vector<int8_t>(rows * cols)};
  // Roughly normal, as trained rows are.
  for (auto& v : m.values) {
    const double sum = random.uniform() + random.uniform() + random.uniform() - 1.5;
    v = static_cast<int8_t>(std::lround(sum / 1.5 * 127.0));
  }
  m.scale.resize(rows);
  for (auto& s : m.scale) s = 0.5F + static_cast<float>(random.uniform());
  return m;
}

struct Head {
  explicit Head(const IntegerMatrix& matrix, bool int4 = false) : head(head_shape(matrix, int4)) {
    memory.resize(head.bytes());
    uint8_t* next = memory.data();
    for (PanelMatrix* part : {&head.high, &head.middle, &head.low}) {
      part->data = next;
      next += part->bytes();
    }
    ThreadTeam team(2);
    fill_head(head, matrix, team);
  }
  OutputHead head;
  std::vector<uint8_t> memory;
};

struct Tile {
  Tile(const std::vector<float>& x, size_t n_tokens, size_t cols)
      : q(n_tokens * kernels::padded_columns(cols)), scale(n_tokens), sum(n_tokens) {
    std::vector<float> scratch(cols);
    kernels::best().quantize_tile(x.data(), cols, nullptr, 1e-5F, n_tokens, cols, 127.0F, q.data(),
                                  scale.data(), sum.data(), scratch.data());
    tile = {q.data(), scale.data(), sum.data(), n_tokens};
  }
  std::vector<int8_t> q;
  std::vector<float> scale;
  std::vector<int32_t> sum;
  kernels::TokenTile tile{};
};

std::vector<float> random_tokens(size_t n, uint64_t stream) {
  RandomStream random(8, stream);
  std::vector<float> x(n);
  for (auto& v : x) v = static_cast<float>(random.uniform() * 2.0 - 1.0);
  return x;
}

// Logits by the definition, straight from the matrix.
std::vector<float> plain_logits(const IntegerMatrix& m, const Tile& x, size_t t) {
  std::vector<float> y(m.rows);
  for (size_t r = 0; r < m.rows; ++r) {
    int32_t sum = 0;
    for (size_t c = 0; c < m.cols; ++c) {
      sum += m.values[r * m.cols + c] * x.q[(c / 4 * x.tile.n_tokens + t) * 4 + c % 4];
    }
    y[r] = static_cast<float>(sum) * (m.scale[r] * x.scale[t]);
  }
  return y;
}

void expect_greatest(const IntegerMatrix& m, const std::vector<float>& tokens, size_t n_tokens,
                     Shortlist& shortlist) {
  const Head head(m);
  const Tile x(tokens, n_tokens, m.cols);
  ThreadTeam team(2);
  const auto found = shortlist.find(head.head, m.rows, x.tile, team);
  ASSERT_EQ(found.size(), n_tokens);
  for (size_t t = 0; t < n_tokens; ++t) {
    EXPECT_EQ(found[t], greatest_of(plain_logits(m, x, t))) << "token " << t;
  }
}

TEST(OutputHead, SlicesAreTheMatrix) {
  for (const size_t cols : {size_t{64}, size_t{70}, size_t{256}}) {
    const auto m = random_rows(75, cols, cols);
    const Head head(m);
    EXPECT_EQ(head.head.rows(), 96U);
    std::vector<float> row(cols);
    for (size_t r = 0; r < m.rows; ++r) {
      head.head.read_row(r, row);
      for (size_t c = 0; c < cols; ++c) {
        ASSERT_EQ(row[c], static_cast<float>(m.values[r * cols + c]) * m.scale[r]);
      }
    }
    const size_t n_tokens = kernels::best().tile_tokens;
    const Tile x(random_tokens(n_tokens * cols, cols), n_tokens, cols);
    std::vector<float> y(n_tokens * 96);
    kernels::best().linear(head.head.product(x.tile, 0, 3, y.data(), 96));
    for (size_t t = 0; t < n_tokens; ++t) {
      const auto exact = plain_logits(m, x, t);
      for (size_t r = 0; r < m.rows; ++r) ASSERT_EQ(y[t * 96 + r], exact[r]) << r;
    }
  }
}

TEST(OutputHead, AnInt4HeadHasHalfTheBytes) {
  const auto m = random_rows(64, 256, 1);
  EXPECT_EQ(Head(m, true).head.bytes() * 2, Head(m).head.bytes());
  EXPECT_EQ(Head(m).head.bytes(), m.values.size());
}

TEST(Shortlist, HoldsTheGreatestAndMostlyLittleElse) {
  Shortlist shortlist;
  size_t refined = 0, panels = 0;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    const auto m = random_rows(4096, 64, seed);
    const size_t n_tokens = 1 + seed % Shortlist::kMostTokens;
    expect_greatest(m, random_tokens(n_tokens * 64, seed), n_tokens, shortlist);
    refined += shortlist.n_refined();
    panels += m.rows / 32;
  }
  EXPECT_LT(refined * 4, panels);
}

TEST(Shortlist, ARowThatTheTokenPointsAtWins) {
  Shortlist shortlist;
  const auto m = random_rows(1000, 128, 3);  // 24 rows short of whole panels
  for (const size_t row : {size_t{0}, size_t{31}, size_t{500}, size_t{999}}) {
    std::vector<float> token(128);
    for (size_t c = 0; c < 128; ++c) token[c] = m.values[row * 128 + c];
    expect_greatest(m, token, 1, shortlist);
    for (float& x : token) x = -x;  // all others point elsewhere: the greatest may be small
    expect_greatest(m, token, 1, shortlist);
  }
}

TEST(Shortlist, PaddingNeverWinsAndOfEqualsTheFirstDoes) {
  Shortlist shortlist;
  auto m = random_rows(40, 64, 5);
  for (auto& v : m.values) v = static_cast<int8_t>(-std::abs(int{v}));  // all logits below zero
  expect_greatest(m, std::vector<float>(64, 1.0F), 1, shortlist);
  for (size_t c = 0; c < 64; ++c) m.values[39 * 64 + c] = m.values[c];  // the same row twice
  m.scale[39] = m.scale[0];
  expect_greatest(m, random_tokens(64, 6), 1, shortlist);
  expect_greatest(m, std::vector<float>(64, 0.0F), 1, shortlist);  // every logit is zero
}

TEST(Shortlist, ExtremesAreWithinTheBound) {
  Shortlist shortlist;
  auto m = random_rows(256, 2560, 9);
  RandomStream random(10, 0);
  for (auto& v : m.values) v = random.below(2) == 0 ? int8_t{127} : int8_t{-127};
  expect_greatest(m, random_tokens(2 * 2560, 11), 2, shortlist);
  // Low bits that the token follows: what the high bits say is as wrong as it can be.
  std::vector<float> token(2560);
  for (size_t c = 0; c < 2560; ++c) token[c] = c % 2 == 0 ? 1.0F : -1.0F;
  for (size_t r = 0; r < 256; ++r) {
    for (size_t c = 0; c < 2560; ++c) {
      const int low = (c % 2 == 0) == (r % 2 == 0) ? 15 : 0;
      m.values[r * 2560 + c] = static_cast<int8_t>(low - static_cast<int>(r % 5));
    }
  }
  expect_greatest(m, token, 1, shortlist);
}

}  // namespace
}  // namespace tristill
