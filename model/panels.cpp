#include "model/panels.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "base/check.h"
#include "model/ternary.h"

namespace tristill {
namespace {

using kernels::kHalfRows;
using kernels::kPanelRows;
using kernels::kStepBytes;
using kernels::PanelKind;

constexpr size_t kPartBytes = size_t{128} << 10;  // of weights
constexpr uint32_t kPartsPerThread = 4;
constexpr float kNoBias = -0.0F;  // added to a number, it leaves its bits

size_t halves_of(size_t rows) { return (rows + kHalfRows - 1) / kHalfRows; }

// Where a half panel's 16 rows come from; matrix is null for padding.
struct HalfSource {
  const IntegerMatrix* matrix = nullptr;
  size_t first_row = 0;
};

HalfSource source_of(Stacking stacking, std::span<const IntegerMatrix* const> parts, size_t half) {
  if (stacking == Stacking::alternating) {
    const IntegerMatrix* matrix = parts[half % parts.size()];
    const size_t first = half / parts.size() * kHalfRows;
    return first < matrix->rows ? HalfSource{matrix, first} : HalfSource{};
  }
  for (const IntegerMatrix* matrix : parts) {
    if (half < halves_of(matrix->rows)) return {matrix, half * kHalfRows};
    half -= halves_of(matrix->rows);
  }
  return {};
}

// The T + 1 of 4 columns from 4 * group, a byte each, of TQ2_0 blocks. Byte j of half h of a block
// of 256 holds columns 128 h + {j, j + 32, j + 64, j + 96}.
uint32_t stored_codes(const std::byte* row, size_t group) {
  const size_t in_half = group % 32;
  const std::byte* from =
      row + group / 64 * kTernaryBlockBytes + group % 64 / 32 * 32 + in_half % 8 * 4;
  uint32_t packed = 0;
  std::memcpy(&packed, from, sizeof packed);
  return packed >> (in_half / 8 * 2) & 0x03030303U;
}

// 4 whole numbers from column 4 * group, a byte each; zeros beyond the matrix.
uint32_t four_values(const int8_t* row, size_t cols, size_t group) {
  uint32_t out = 0;
  const size_t begin = group * 4;
  if (begin < cols) std::memcpy(&out, row + begin, std::min<size_t>(4, cols - begin));
  return out;
}

// Adds one to each of 4 bytes of -1, 0, 1.
uint32_t codes_of(uint32_t values) {
  return ((values & 0x7F7F7F7FU) + 0x01010101U) ^ (values & 0x80808080U);
}

// A row of a matrix, 4 columns at a time, as a panel's kind has them: T + 1, or int8.
class RowReader {
 public:
  RowReader(const IntegerMatrix& matrix, size_t row, bool ternary)
      : cols_(matrix.cols), ternary_(ternary) {
    if (matrix.stored_blocks.empty()) {
      values_ = matrix.row(row);
    } else {
      const size_t row_bytes = ternary_blocks_of(cols_) * kTernaryBlockBytes;
      blocks_ = matrix.stored_blocks.data() + row * row_bytes;
    }
  }
  uint32_t group(size_t index) const {
    if (blocks_ != nullptr) return index * 4 < cols_ ? stored_codes(blocks_, index) : 0x01010101U;
    const uint32_t values = four_values(values_, cols_, index);
    return ternary_ ? codes_of(values) : values;
  }

 private:
  size_t cols_;
  bool ternary_;
  const int8_t* values_ = nullptr;
  const std::byte* blocks_ = nullptr;
};

// The 4 bytes of a step of a row.
uint32_t step_of(PanelKind kind, const RowReader& row, size_t step) {
  uint32_t out = 0;
  switch (kind) {
    case PanelKind::ternary:
      for (size_t k = 0; k < 4; ++k) out |= row.group(4 * step + k) << (2 * k);
      return out;
    case PanelKind::dense:  // no byte exceeds 242: nothing carries into the next
      for (size_t k = 5; k-- > 0;) out = 3 * out + row.group(5 * step + k);
      return out;
    default: return row.group(step);
  }
}

void store_dword(uint8_t* half, size_t step, size_t row, uint32_t value) {
  std::memcpy(half + step * kStepBytes + row * 4, &value, sizeof value);
}

// A row of int8 in steps of `step` of its unit, -7 .. 7.
int to_int4(int8_t value, float step) {
  const float v = std::nearbyint(static_cast<float>(value) / step);
  return static_cast<int>(std::clamp(v, -7.0F, 7.0F));
}

// The step, in units of the row, that loses least in the mean square.
float best_int4_step(const int8_t* row, size_t cols) {
  int most = 1;
  for (size_t c = 0; c < cols; ++c) most = std::max(most, std::abs(int{row[c]}));
  float best = 0.0F;
  double least = std::numeric_limits<double>::infinity();
  for (int i = 0; i < 6; ++i) {
    const float step = static_cast<float>(most) / 7.0F * (1.0F - 0.08F * static_cast<float>(i));
    double loss = 0;
    for (size_t c = 0; c < cols; ++c) {
      const float error =
          static_cast<float>(row[c]) - static_cast<float>(to_int4(row[c], step)) * step;
      loss += static_cast<double>(error * error);
    }
    if (loss >= least) continue;
    least = loss;
    best = step;
  }
  return best;
}

void fill_int4_row(const PanelMatrix& matrix, const int8_t* row, float step, size_t at,
                   uint8_t* half) {
  const size_t steps = kernels::panel_steps(matrix.kind, matrix.cols);
  for (size_t s = 0; s < steps; ++s) {
    uint32_t out = 0;
    for (size_t i = 0; i < 8; ++i) {
      const size_t c = s * 8 + i;
      const int value = c < matrix.cols ? to_int4(row[c], step) : 0;
      out |= static_cast<uint32_t>(value + 8) << (i % 4 * 8 + i / 4 * 4);
    }
    store_dword(half, s, at, out);
  }
}

// The 4 bytes of zero weights.
uint32_t zeros_of(PanelKind kind) {
  switch (kind) {
    case PanelKind::ternary: return 0x55555555U;
    case PanelKind::dense: return 0x79797979U;  // 121 = 1 + 3 + 9 + 27 + 81
    case PanelKind::int4: return 0x88888888U;
    default: break;
  }
  return 0;
}

void fill_row(PanelMatrix& matrix, const IntegerMatrix& from, size_t from_row, size_t row,
              uint8_t* half) {
  const size_t at = row % kHalfRows;
  if (!from.bias.empty()) matrix.bias[row] = from.bias[from_row];
  if (matrix.kind == PanelKind::int4) {
    const float step = best_int4_step(from.row(from_row), from.cols);
    matrix.scale[row] = from.scale[from_row] * step;
    return fill_int4_row(matrix, from.row(from_row), step, at, half);
  }
  const bool by_row = kernels::scaled_by_row(matrix.kind);
  matrix.scale[by_row ? row : row / kHalfRows] = from.scale[by_row ? from_row : 0];
  const RowReader reader(from, from_row, !by_row);
  const size_t steps = kernels::panel_steps(matrix.kind, matrix.cols);
  for (size_t s = 0; s < steps; ++s) store_dword(half, s, at, step_of(matrix.kind, reader, s));
}

void fill_half(PanelMatrix& matrix, HalfSource source, size_t index) {
  const size_t steps = kernels::panel_steps(matrix.kind, matrix.cols);
  uint8_t* half = matrix.data + index / 2 * steps * kStepBytes + index % 2 * kStepBytes / 2;
  for (size_t r = 0; r < kHalfRows; ++r) {
    const size_t from_row = source.first_row + r;
    if (source.matrix != nullptr && from_row < source.matrix->rows) {
      fill_row(matrix, *source.matrix, from_row, index * kHalfRows + r, half);
      continue;
    }
    for (size_t s = 0; s < steps; ++s) store_dword(half, s, r, zeros_of(matrix.kind));
  }
}

}  // namespace

PanelMatrix panel_shape(PanelKind kind, Stacking stacking,
                        std::span<const IntegerMatrix* const> parts) {
  PanelMatrix matrix;
  matrix.kind = kind;
  matrix.cols = parts[0]->cols;
  size_t halves = 0;
  for (const IntegerMatrix* part : parts) {
    CHECK(part->cols == matrix.cols);
    CHECK(stacking == Stacking::sequence || part->rows == parts[0]->rows);
    CHECK(part->scale.size() == (kernels::scaled_by_row(kind) ? part->rows : 1));
    CHECK(part->bias.empty() || part->bias.size() == part->rows);
    halves += halves_of(part->rows);
  }
  matrix.rows = (halves + 1) / 2 * kPanelRows;
  return matrix;
}

void fill_panels(PanelMatrix& matrix, Stacking stacking,
                 std::span<const IntegerMatrix* const> parts, ThreadTeam& team) {
  const size_t n_halves = matrix.rows / kHalfRows;
  matrix.scale.assign(kernels::scaled_by_row(matrix.kind) ? matrix.rows : n_halves, 0.0F);
  const bool biased = std::any_of(parts.begin(), parts.end(),
                                  [](const IntegerMatrix* part) { return !part->bias.empty(); });
  matrix.bias.assign(biased ? matrix.rows : 0, kNoBias);
  const uint32_t n_parts = team.parts_of(n_halves, 4, 4);
  team.run(n_parts, [&](uint32_t part, uint32_t) {
    const Share mine = share_of(n_halves, 1, part, n_parts);
    for (size_t half = mine.begin; half < mine.end; ++half) {
      fill_half(matrix, source_of(stacking, parts, half), half);
    }
  });
}

uint32_t parts_of_panels(const PanelMatrix& matrix, const ThreadTeam& team) {
  const size_t n_panels = matrix.n_panels();
  const size_t panel_bytes = kernels::panel_bytes(matrix.kind, matrix.cols);
  const size_t most = std::max<size_t>(1, kPartBytes / panel_bytes);
  const uint32_t least_parts = team.parts_of(n_panels, 1, kPartsPerThread);
  return static_cast<uint32_t>(
      std::clamp<size_t>((n_panels + most - 1) / most, least_parts, 65535));
}

}  // namespace tristill
