#include "model/output_head.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/check.h"

namespace tristill {
namespace {

using kernels::kHalfRows;
using kernels::kPanelRows;
using kernels::kStepBytes;
using kernels::PanelKind;

constexpr size_t kSliceColumns = kernels::step_columns(PanelKind::sliced);
constexpr float kRoundUp = 1.0F + 1e-6F;

// Where the four bytes of a row in the first step of a matrix begin; kStepBytes further, those in
// the next one.
uint8_t* row_of(const PanelMatrix& matrix, size_t row) {
  return matrix.data + row / kPanelRows * kernels::panel_bytes(matrix.kind, matrix.cols) +
         row % kPanelRows / kHalfRows * (kStepBytes / 2) + row % kHalfRows * 4;
}

uint32_t load_word(const void* from) {
  uint32_t word;
  std::memcpy(&word, from, sizeof word);
  return word;
}

// The low 4 and the low 2 bits of each byte.
constexpr uint32_t kFourBits = 0x0F0F0F0F;
constexpr uint32_t kTwoBits = 0x03030303;

// 16 columns of a row, weight + 128 each: byte j of word k is column 4 k + j.
using Group = std::array<uint32_t, 4>;

// A row's place in each slice.
struct SlicedRow {
  uint8_t* high;
  uint8_t* middle;
  uint8_t* low;
  SlicedRow(const OutputHead& head, size_t row)
      : high(row_of(head.high, row)),
        middle(row_of(head.middle, row)),
        low(row_of(head.low, row)) {}

  void store(size_t step, const Group& code) const {
    uint32_t m = 0;
    uint32_t l = 0;
    for (size_t k = 0; k < 4; ++k) {
      m |= (code[k] >> 2 & kTwoBits) << (2 * k);
      l |= (code[k] & kTwoBits) << (2 * k);
    }
    for (size_t k = 0; k < 4; k += 2) {
      const uint32_t h = (code[k] >> 4 & kFourBits) | (code[k + 1] & ~kFourBits);
      std::memcpy(high + (2 * step + k / 2) * kStepBytes, &h, sizeof h);
    }
    std::memcpy(middle + step * kStepBytes, &m, sizeof m);
    std::memcpy(low + step * kStepBytes, &l, sizeof l);
  }

  Group load(size_t step) const {
    const uint32_t m = load_word(middle + step * kStepBytes);
    const uint32_t l = load_word(low + step * kStepBytes);
    Group code;
    for (size_t k = 0; k < 4; ++k) {
      const uint32_t h = load_word(high + (2 * step + k / 2) * kStepBytes) >> (4 * (k % 2));
      code[k] = (h & kFourBits) << 4 | (m >> (2 * k) & kTwoBits) << 2 | (l >> (2 * k) & kTwoBits);
    }
    return code;
  }
};

// The Euclidean norm of the numbers whose doubles have these squares in sum, rounded up.
float radius_of(int64_t squares_of_doubles) {
  return static_cast<float>(std::sqrt(static_cast<double>(squares_of_doubles) / 4.0)) * kRoundUp;
}

// A row of weights, zeros beyond the matrix.
void fill_row(OutputHead& head, const int8_t* weights, size_t cols, size_t row) {
  int64_t high_left = 0;
  int64_t middle_left = 0;
  for (size_t c = 0; c < cols; ++c) {
    const int code = weights[c] + 128;
    const int h = 2 * (code & 15) - 15;
    const int m = 2 * (code & 3) - 3;
    high_left += h * h;
    middle_left += m * m;
  }
  head.high_radius[row] = radius_of(high_left);
  head.middle_radius[row] = radius_of(middle_left);
  const SlicedRow to(head, row);
  const size_t steps = head.high.cols / kSliceColumns;
  for (size_t step = 0; step < steps; ++step) {
    const size_t from = step * kSliceColumns;
    int8_t group[kSliceColumns] = {};
    if (from < cols) std::copy_n(weights + from, std::min(kSliceColumns, cols - from), group);
    Group code;
    for (size_t k = 0; k < 4; ++k) code[k] = load_word(group + 4 * k) ^ 0x80808080;
    to.store(step, code);
  }
}

}  // namespace

size_t OutputHead::bytes() const { return high.bytes() + middle.bytes() + low.bytes(); }

kernels::LinearCall OutputHead::product(const kernels::TokenTile& x, size_t panel_begin,
                                        size_t panel_end, float* out, size_t ld_out) const {
  return {.x = x,
          .kind = is_sliced() ? PanelKind::sliced : high.kind,
          .panels = high.data,
          .middle = middle.data,
          .low = low.data,
          .cols = high.cols,
          .panel_begin = panel_begin,
          .panel_end = panel_end,
          .scale = high.scale.data(),
          .finish = kernels::Finish::store,
          .out = out,
          .ld_out = ld_out};
}

void OutputHead::read_row(size_t row, std::span<float> out) const {
  CHECK(is_sliced() && row < rows() && out.size() <= high.cols);
  const SlicedRow from(*this, row);
  for (size_t c = 0; c < out.size(); c += kSliceColumns) {
    const Group code = from.load(c / kSliceColumns);
    for (size_t i = 0; i < std::min(kSliceColumns, out.size() - c); ++i) {
      const int weight = static_cast<int>(code[i / 4] >> (8 * (i % 4)) & 255U) - 128;
      out[c + i] = static_cast<float>(weight) * high.scale[row];
    }
  }
}

OutputHead head_shape(const IntegerMatrix& matrix, bool int4) {
  OutputHead head;
  const IntegerMatrix* const parts[] = {&matrix};
  head.high = panel_shape(PanelKind::int4, Stacking::sequence, parts);
  if (int4) return head;
  head.high.cols = (matrix.cols + kSliceColumns - 1) / kSliceColumns * kSliceColumns;
  head.middle = {.kind = PanelKind::ternary, .rows = head.high.rows, .cols = head.high.cols};
  head.low = head.middle;
  return head;
}

void fill_head(OutputHead& head, const IntegerMatrix& matrix, ThreadTeam& team) {
  if (!head.is_sliced()) {
    const IntegerMatrix* const parts[] = {&matrix};
    return fill_panels(head.high, Stacking::sequence, parts, team);
  }
  head.high.scale.assign(head.rows(), 0.0F);
  head.high_radius.assign(head.rows(), 0.0F);
  head.middle_radius.assign(head.rows(), 0.0F);
  team.for_each(head.rows(), kPanelRows, [&](size_t row, uint32_t) {
    const bool padding = row >= matrix.rows;
    if (!padding) head.high.scale[row] = matrix.scale[row];
    fill_row(head, padding ? nullptr : matrix.row(row), padding ? 0 : matrix.cols, row);
  });
}

}  // namespace tristill
