#include "model/panels.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "model/ternary.h"

namespace tristill {
namespace {

using kernels::kHalfRows;
using kernels::kPanelRows;
using kernels::kStepBytes;
using kernels::PanelKind;

constexpr uint32_t kZeroWeights = 0x55555555;  // 16 codes of T = 0

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

// 16 columns of TQ2_0 codes, from column 16 * step, as a panel's 4 bytes. Byte j of half h of a
// block of 256 holds columns 128 h + {j, j + 32, j + 64, j + 96}.
uint32_t stored_codes(const std::byte* row, size_t step) {
  const size_t in_block = step % 16;
  const std::byte* half = row + step / 16 * kTernaryBlockBytes + in_block / 8 * 32;
  const size_t shift = in_block % 8 / 2 * 2;
  uint32_t quarters[4];
  std::memcpy(quarters, half + in_block % 2 * 16, sizeof quarters);
  uint32_t out = 0;
  for (int k = 0; k < 4; ++k) out |= (quarters[k] >> shift & 0x03030303U) << (2 * k);
  return out;
}

// The same from whole numbers; columns beyond the matrix are zeros.
uint32_t codes_of(const int8_t* row, size_t cols, size_t step) {
  uint32_t out = 0;
  for (size_t i = 0; i < 16; ++i) {
    const size_t c = step * 16 + i;
    const auto code = static_cast<uint32_t>((c < cols ? row[c] : 0) + 1);
    out |= code << (i % 4 * 8 + i / 4 * 2);
  }
  return out;
}

uint32_t bytes_of(const int8_t* row, size_t cols, size_t step) {
  uint32_t out = 0;
  const size_t n = step * 4 < cols ? std::min<size_t>(4, cols - step * 4) : 0;
  std::memcpy(&out, row + (n > 0 ? step * 4 : 0), n);
  return out;
}

void store_dword(uint8_t* half, size_t step, size_t row, uint32_t value) {
  std::memcpy(half + step * kStepBytes + row * 4, &value, sizeof value);
}

// One row of a half panel.
void fill_row(PanelKind kind, const IntegerMatrix& from, size_t row, size_t steps, size_t at,
              uint8_t* half) {
  const size_t cols = from.cols;
  if (kind == PanelKind::int8) {
    const int8_t* values = from.row(row);
    for (size_t s = 0; s < steps; ++s) store_dword(half, s, at, bytes_of(values, cols, s));
    return;
  }
  if (!from.stored_blocks.empty()) {
    const std::byte* blocks =
        from.stored_blocks.data() + row * (cols / kTernaryBlock) * kTernaryBlockBytes;
    for (size_t s = 0; s < steps; ++s) store_dword(half, s, at, stored_codes(blocks, s));
    return;
  }
  const int8_t* values = from.row(row);
  for (size_t s = 0; s < steps; ++s) store_dword(half, s, at, codes_of(values, cols, s));
}

void fill_half(const PanelMatrix& matrix, HalfSource source, size_t index) {
  const size_t steps = kernels::panel_steps(matrix.kind, matrix.cols);
  uint8_t* half = matrix.data + index / 2 * steps * kStepBytes + index % 2 * kStepBytes / 2;
  for (size_t r = 0; r < kHalfRows; ++r) {
    if (source.matrix != nullptr && source.first_row + r < source.matrix->rows) {
      fill_row(matrix.kind, *source.matrix, source.first_row + r, steps, r, half);
      continue;
    }
    const uint32_t zeros = matrix.kind == PanelKind::ternary ? kZeroWeights : 0;
    for (size_t s = 0; s < steps; ++s) store_dword(half, s, r, zeros);
  }
}

void fill_scales(PanelMatrix& matrix, HalfSource source, size_t half) {
  if (source.matrix == nullptr) return;  // zeros already
  if (matrix.kind == PanelKind::ternary) {
    matrix.scale[half] = source.matrix->scale[0];
    return;
  }
  const size_t n = std::min(kHalfRows, source.matrix->rows - source.first_row);
  for (size_t r = 0; r < n; ++r) {
    matrix.scale[half * kHalfRows + r] = source.matrix->scale[source.first_row + r];
  }
}

}  // namespace

PanelMatrix panel_shape(WeightKind kind, Stacking stacking,
                        std::span<const IntegerMatrix* const> parts) {
  PanelMatrix matrix;
  matrix.kind = kind == WeightKind::ternary ? PanelKind::ternary : PanelKind::int8;
  matrix.cols = parts[0]->cols;
  size_t halves = 0;
  for (const IntegerMatrix* part : parts) {
    CHECK(part->cols == matrix.cols);
    CHECK(stacking == Stacking::sequence || part->rows == parts[0]->rows);
    CHECK(part->scale.size() == (kind == WeightKind::ternary ? 1 : part->rows));
    halves += halves_of(part->rows);
  }
  matrix.rows = (halves + 1) / 2 * kPanelRows;
  return matrix;
}

void fill_panels(PanelMatrix& matrix, WeightKind kind, Stacking stacking,
                 std::span<const IntegerMatrix* const> parts, ThreadTeam& team) {
  const size_t n_halves = matrix.rows / kHalfRows;
  matrix.scale.assign(matrix.kind == PanelKind::ternary ? n_halves : matrix.rows, 0.0F);
  CHECK((kind == WeightKind::ternary) == (matrix.kind == PanelKind::ternary));
  const uint32_t n_parts = team.parts_of(n_halves, 4, 4);
  team.run(n_parts, [&](uint32_t part, uint32_t) {
    const Share mine = share_of(n_halves, 1, part, n_parts);
    for (size_t half = mine.begin; half < mine.end; ++half) {
      const HalfSource source = source_of(stacking, parts, half);
      fill_half(matrix, source, half);
      fill_scales(matrix, source, half);
    }
  });
}

void read_int8_row(const PanelMatrix& matrix, size_t row, float* out) {
  CHECK(matrix.kind == PanelKind::int8 && row < matrix.rows);
  const size_t steps = kernels::panel_steps(matrix.kind, matrix.cols);
  const uint8_t* from = matrix.data + row / kPanelRows * steps * kStepBytes +
                        row % kPanelRows / kHalfRows * (kStepBytes / 2) + row % kHalfRows * 4;
  const float scale = matrix.scale[row];
  for (size_t c = 0; c < matrix.cols; ++c) {
    const auto weight = static_cast<int8_t>(from[c / 4 * kStepBytes + c % 4]);
    out[c] = static_cast<float>(weight) * scale;
  }
}

}  // namespace tristill
