#include "model/output_head.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace tristill {
namespace {

using kernels::kHalfRows;
using kernels::kPanelRows;
using kernels::kStepBytes;
using kernels::PanelKind;

constexpr size_t kSliceColumns = kernels::step_columns(PanelKind::sliced);
constexpr float kRoundUp = 1.0F + 1e-6F;

// Where the four bytes of a row in a step of a matrix begin.
uint8_t* bytes_at(const PanelMatrix& matrix, size_t row, size_t step) {
  return matrix.data + row / kPanelRows * kernels::panel_bytes(matrix.kind, matrix.cols) +
         step * kStepBytes + row % kPanelRows / kHalfRows * (kStepBytes / 2) + row % kHalfRows * 4;
}

// 16 columns of a row: byte j of group k is column 4 k + j.
struct Group {
  uint8_t code[4][4];  // weight + 128
};

void store_group(OutputHead& head, size_t row, size_t step, const Group& group) {
  for (size_t j = 0; j < 4; ++j) {
    unsigned high[2] = {}, middle = 0, low = 0;
    for (size_t k = 0; k < 4; ++k) {
      const unsigned code = group.code[k][j];
      high[k / 2] |= code >> 4 << (4 * (k % 2));
      middle |= (code >> 2 & 3U) << (2 * k);
      low |= (code & 3U) << (2 * k);
    }
    bytes_at(head.high, row, 2 * step)[j] = static_cast<uint8_t>(high[0]);
    bytes_at(head.high, row, 2 * step + 1)[j] = static_cast<uint8_t>(high[1]);
    bytes_at(head.middle, row, step)[j] = static_cast<uint8_t>(middle);
    bytes_at(head.low, row, step)[j] = static_cast<uint8_t>(low);
  }
}

Group load_group(const OutputHead& head, size_t row, size_t step) {
  Group group{};
  for (size_t j = 0; j < 4; ++j) {
    const unsigned middle = bytes_at(head.middle, row, step)[j];
    const unsigned low = bytes_at(head.low, row, step)[j];
    for (size_t k = 0; k < 4; ++k) {
      const unsigned high = bytes_at(head.high, row, 2 * step + k / 2)[j];
      group.code[k][j] =
          static_cast<uint8_t>((high >> (4 * (k % 2)) & 15U) << 4 | (middle >> (2 * k) & 3U) << 2 |
                               (low >> (2 * k) & 3U));
    }
  }
  return group;
}

// A row of weights, zeros beyond the matrix.
void fill_row(OutputHead& head, const int8_t* weights, size_t cols, size_t row) {
  double high_left = 0, middle_left = 0;
  const size_t steps = head.high.cols / kSliceColumns;
  for (size_t step = 0; step < steps; ++step) {
    Group group{};
    for (size_t i = 0; i < kSliceColumns; ++i) {
      const size_t c = step * kSliceColumns + i;
      const int weight = c < cols ? weights[c] : 0;
      const auto code = static_cast<uint8_t>(weight + 128);
      group.code[i / 4][i % 4] = code;
      if (c >= cols) continue;  // multiplied by zeros
      high_left += std::pow((code & 15) - 7.5, 2);
      middle_left += std::pow((code & 3) - 1.5, 2);
    }
    store_group(head, row, step, group);
  }
  head.high_radius[row] = static_cast<float>(std::sqrt(high_left)) * kRoundUp;
  head.middle_radius[row] = static_cast<float>(std::sqrt(middle_left)) * kRoundUp;
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
  for (size_t c = 0; c < out.size(); c += kSliceColumns) {
    const Group group = load_group(*this, row, c / kSliceColumns);
    for (size_t i = 0; i < std::min(kSliceColumns, out.size() - c); ++i) {
      const int weight = group.code[i / 4][i % 4] - 128;
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
