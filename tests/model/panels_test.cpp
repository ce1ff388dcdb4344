// The kernels' layout holds every weight where kernels.h says, whatever it was built from.
#include "model/panels.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/random.h"
#include "model/ternary.h"

namespace tristill {
namespace {

IntegerMatrix random_integers(WeightKind kind, size_t rows, size_t cols, uint64_t stream) {
  RandomStream random(11, stream);
  const int limit = kind == WeightKind::ternary ? 1 : 127;
  IntegerMatrix m{.rows = rows, .cols = cols, .values = std::vector<int8_t>(rows * cols)};
  for (auto& v : m.values) {
    v = static_cast<int8_t>(static_cast<int>(random.below(static_cast<uint64_t>(2 * limit + 1))) -
                            limit);
  }
  m.scale.resize(kind == WeightKind::ternary ? 1 : rows);
  for (auto& s : m.scale) s = static_cast<float>(random.uniform());
  return m;
}

struct Panels {
  Panels(WeightKind kind, Stacking stacking, std::vector<const IntegerMatrix*> parts)
      : matrix(panel_shape(kind, stacking, parts)), memory(matrix.bytes()) {
    matrix.data = memory.data();
    ThreadTeam team(3);
    fill_panels(matrix, kind, stacking, parts, team);
  }
  // The weight of a row at a column, by the layout's definition.
  int at(size_t row, size_t col) const {
    const bool ternary = matrix.kind == kernels::PanelKind::ternary;
    const size_t step_columns = ternary ? 16 : 4;
    const size_t panel = row / 32, half = row % 32 / 16, lane = row % 16;
    const uint8_t byte =
        memory[panel * kernels::panel_bytes(matrix.kind, matrix.cols) + col / step_columns * 128 +
               half * 64 + lane * 4 + col % step_columns % 4];
    if (!ternary) return static_cast<int8_t>(byte);
    return (byte >> (2 * (col % 16 / 4)) & 3) - 1;
  }
  PanelMatrix matrix;
  std::vector<uint8_t> memory;
};

TEST(Panels, SequenceHoldsEveryMatrixBehindTheOther) {
  for (const WeightKind kind : {WeightKind::ternary, WeightKind::int8}) {
    const auto q = random_integers(kind, 40, 256, 1);
    const auto k = random_integers(kind, 16, 256, 2);
    const Panels panels(kind, Stacking::sequence, {&q, &k});
    EXPECT_EQ(panels.matrix.rows, 64U);  // 48 and 16
    for (size_t c = 0; c < 256; ++c) {
      for (size_t r = 0; r < 40; ++r) ASSERT_EQ(panels.at(r, c), q.values[r * 256 + c]);
      for (size_t r = 40; r < 48; ++r) ASSERT_EQ(panels.at(r, c), 0);
      for (size_t r = 0; r < 16; ++r) ASSERT_EQ(panels.at(48 + r, c), k.values[r * 256 + c]);
    }
    if (kind == WeightKind::ternary) {
      EXPECT_EQ(panels.matrix.scale,
                (std::vector<float>{q.scale[0], q.scale[0], q.scale[0], k.scale[0]}));
    } else {
      EXPECT_EQ(panels.matrix.scale[39], q.scale[39]);
      EXPECT_EQ(panels.matrix.scale[48], k.scale[0]);
    }
  }
}

TEST(Panels, AlternatingPutsGateAndUpOfARowIntoOnePanel) {
  const auto gate = random_integers(WeightKind::ternary, 100, 256, 3);
  const auto up = random_integers(WeightKind::ternary, 100, 256, 4);
  const Panels panels(WeightKind::ternary, Stacking::alternating, {&gate, &up});
  EXPECT_EQ(panels.matrix.n_panels(), 7U);
  for (size_t r = 0; r < 100; ++r) {
    for (size_t c = 0; c < 256; ++c) {
      ASSERT_EQ(panels.at(r / 16 * 32 + r % 16, c), gate.values[r * 256 + c]);
      ASSERT_EQ(panels.at(r / 16 * 32 + 16 + r % 16, c), up.values[r * 256 + c]);
    }
  }
}

TEST(Panels, StoredBlocksGiveTheBytesOfTheirValues) {
  const auto values = random_integers(WeightKind::ternary, 37, 768, 5);
  std::vector<uint8_t> packed(37 * packed_ternary_bytes(768));
  pack_ternary(values.values.data(), 37, 768, packed.data());
  std::vector<std::byte> blocks(packed.size() / 64 * kTernaryBlockBytes);
  for (size_t b = 0; b < packed.size() / 64; ++b) {
    std::memcpy(&blocks[b * kTernaryBlockBytes], &packed[b * 64], 64);
  }
  const IntegerMatrix stored{
      .rows = 37, .cols = 768, .scale = values.scale, .stored_blocks = blocks};
  EXPECT_EQ(Panels(WeightKind::ternary, Stacking::sequence, {&values}).memory,
            Panels(WeightKind::ternary, Stacking::sequence, {&stored}).memory);
  EXPECT_EQ(unpacked_values(stored), values.values);
}

TEST(Panels, ColumnsAreZerosBeyondTheMatrix) {
  const auto odd = random_integers(WeightKind::int8, 5, 70, 6);
  const Panels panels(WeightKind::int8, Stacking::sequence, {&odd});
  for (size_t c = 70; c < 80; ++c) EXPECT_EQ(panels.at(2, c), 0);
  std::vector<float> row(70);
  read_int8_row(panels.matrix, 4, row.data());
  for (size_t c = 0; c < 70; ++c) {
    EXPECT_EQ(row[c], static_cast<float>(odd.values[4 * 70 + c]) * odd.scale[4]);
  }
}

}  // namespace
}  // namespace tristill
