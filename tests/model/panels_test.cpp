// The kernels' layout holds every weight where kernels.h says, whatever it was built from.
#include "model/panels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/random.h"
#include "model/ternary.h"

namespace tristill {
namespace {

using kernels::PanelKind;

IntegerMatrix random_integers(PanelKind kind, size_t rows, size_t cols, uint64_t stream) {
  RandomStream random(11, stream);
  const int limit = kernels::scaled_by_row(kind) ? 127 : 1;
  IntegerMatrix m{.rows = rows, .cols = cols, .values = std::vector<int8_t>(rows * cols)};
  for (auto& v : m.values) {
    v = static_cast<int8_t>(static_cast<int>(random.below(static_cast<uint64_t>(2 * limit + 1))) -
                            limit);
  }
  m.scale.resize(kernels::scaled_by_row(kind) ? rows : 1);
  for (auto& s : m.scale) s = static_cast<float>(random.uniform());
  return m;
}

struct Panels {
  Panels(PanelKind kind, Stacking stacking, std::vector<const IntegerMatrix*> parts)
      : matrix(panel_shape(kind, stacking, parts)), memory(matrix.bytes()) {
    matrix.data = memory.data();
    ThreadTeam team(3);
    fill_panels(matrix, stacking, parts, team);
  }
  // The weight of a row at a column, by the layout's definition.
  int at(size_t row, size_t col) const {
    const size_t n = kernels::step_columns(matrix.kind);
    const size_t k = col % n / 4;
    const uint8_t byte = memory[row / 32 * kernels::panel_bytes(matrix.kind, matrix.cols) +
                                col / n * 128 + row % 32 / 16 * 64 + row % 16 * 4 + col % 4];
    switch (matrix.kind) {
      case PanelKind::ternary: return (byte >> (2 * k) & 3) - 1;
      case PanelKind::dense: return static_cast<int>(byte / std::lround(std::pow(3, k))) % 3 - 1;
      case PanelKind::int4: return (byte >> (4 * k) & 15) - 8;
      default: break;
    }
    return static_cast<int8_t>(byte);
  }
  PanelMatrix matrix;
  std::vector<uint8_t> memory;
};

constexpr PanelKind kExact[] = {PanelKind::ternary, PanelKind::dense, PanelKind::int8};

TEST(Panels, SequenceHoldsEveryMatrixBehindTheOther) {
  for (const PanelKind kind : kExact) {
    const auto q = random_integers(kind, 40, 256, 1);
    const auto k = random_integers(kind, 16, 256, 2);
    const Panels panels(kind, Stacking::sequence, {&q, &k});
    EXPECT_EQ(panels.matrix.rows, 64U);  // 48 and 16
    for (size_t c = 0; c < 256; ++c) {
      for (size_t r = 0; r < 40; ++r) ASSERT_EQ(panels.at(r, c), q.values[r * 256 + c]);
      for (size_t r = 40; r < 48; ++r) ASSERT_EQ(panels.at(r, c), 0);
      for (size_t r = 0; r < 16; ++r) ASSERT_EQ(panels.at(48 + r, c), k.values[r * 256 + c]);
    }
    if (kind == PanelKind::int8) {
      EXPECT_EQ(panels.matrix.scale[39], q.scale[39]);
      EXPECT_EQ(panels.matrix.scale[48], k.scale[0]);
    } else {
      EXPECT_EQ(panels.matrix.scale,
                (std::vector<float>{q.scale[0], q.scale[0], q.scale[0], k.scale[0]}));
    }
  }
}

TEST(Panels, BiasesLieWhereTheirRowsDoAndChangeNothingElsewhere) {
  auto q = random_integers(PanelKind::ternary, 40, 256, 1);
  auto k = random_integers(PanelKind::ternary, 16, 256, 2);
  EXPECT_TRUE(Panels(PanelKind::ternary, Stacking::sequence, {&q, &k}).matrix.bias.empty());
  for (size_t r = 0; r < 16; ++r) k.bias.push_back(static_cast<float>(r) + 0.5F);
  const Panels panels(PanelKind::ternary, Stacking::sequence, {&q, &k});
  ASSERT_EQ(panels.matrix.bias.size(), 64U);
  for (size_t r = 0; r < 48; ++r) {
    EXPECT_EQ(panels.matrix.bias[r], 0.0F);
    EXPECT_TRUE(std::signbit(panels.matrix.bias[r] + -0.0F)) << "row " << r;
  }
  for (size_t r = 0; r < 16; ++r) EXPECT_EQ(panels.matrix.bias[48 + r], k.bias[r]);
  auto gate = random_integers(PanelKind::ternary, 20, 256, 3);
  auto up = random_integers(PanelKind::ternary, 20, 256, 4);
  gate.bias.assign(20, 2.0F);
  up.bias.assign(20, 3.0F);
  const Panels both(PanelKind::ternary, Stacking::alternating, {&gate, &up});
  EXPECT_EQ(both.matrix.bias[15], 2.0F);
  EXPECT_EQ(both.matrix.bias[16], 3.0F);
  EXPECT_EQ(both.matrix.bias[35], 2.0F);
  EXPECT_EQ(both.matrix.bias[36], 0.0F);
}

TEST(Panels, AlternatingPutsGateAndUpOfARowIntoOnePanel) {
  const auto gate = random_integers(PanelKind::ternary, 100, 256, 3);
  const auto up = random_integers(PanelKind::ternary, 100, 256, 4);
  const Panels panels(PanelKind::ternary, Stacking::alternating, {&gate, &up});
  EXPECT_EQ(panels.matrix.n_panels(), 7U);
  for (size_t r = 0; r < 100; ++r) {
    for (size_t c = 0; c < 256; ++c) {
      ASSERT_EQ(panels.at(r / 16 * 32 + r % 16, c), gate.values[r * 256 + c]);
      ASSERT_EQ(panels.at(r / 16 * 32 + 16 + r % 16, c), up.values[r * 256 + c]);
    }
  }
}

TEST(Panels, StoredBlocksGiveTheBytesOfTheirValues) {
  const auto values = random_integers(PanelKind::ternary, 37, 768, 5);
  std::vector<uint8_t> packed(37 * packed_ternary_bytes(768));
  pack_ternary(values.values.data(), 37, 768, packed.data());
  std::vector<std::byte> blocks(packed.size() / 64 * kTernaryBlockBytes);
  for (size_t b = 0; b < packed.size() / 64; ++b) {
    std::memcpy(&blocks[b * kTernaryBlockBytes], &packed[b * 64], 64);
  }
  const IntegerMatrix stored{
      .rows = 37, .cols = 768, .scale = values.scale, .stored_blocks = blocks};
  for (const PanelKind kind : {PanelKind::ternary, PanelKind::dense}) {
    EXPECT_EQ(Panels(kind, Stacking::sequence, {&values}).memory,
              Panels(kind, Stacking::sequence, {&stored}).memory);
  }
  EXPECT_EQ(unpacked_values(stored), values.values);
}

TEST(Panels, ColumnsAreZerosBeyondTheMatrix) {
  const auto odd = random_integers(PanelKind::int8, 5, 70, 6);
  const Panels panels(PanelKind::int8, Stacking::sequence, {&odd});
  for (size_t c = 70; c < 72; ++c) EXPECT_EQ(panels.at(2, c), 0);
}

TEST(Panels, Int4LosesLessThanAPlainRounding) {
  const auto rows = random_integers(PanelKind::int8, 33, 256, 7);
  const Panels panels(PanelKind::int4, Stacking::sequence, {&rows});
  for (size_t r = 0; r < 33; ++r) {
    double loss = 0, plain = 0;
    for (size_t c = 0; c < 256; ++c) {
      const double exact = static_cast<double>(rows.values[r * 256 + c] * rows.scale[r]);
      ASSERT_LE(std::abs(panels.at(r, c)), 7);
      loss += std::pow(exact - panels.at(r, c) * static_cast<double>(panels.matrix.scale[r]), 2);
      const double step = 127.0 / 7.0 * static_cast<double>(rows.scale[r]);
      plain += std::pow(exact - std::round(exact / step) * step, 2);
    }
    EXPECT_LE(loss, plain * 1.0001) << r;
  }
}

}  // namespace
}  // namespace tristill
