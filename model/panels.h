// PanelMatrix: one or several linear layers with the same input, as the kernels read them
// (kernels.h: panels of 32 rows). Built once from integer matrices; then read by any thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/format/model_file.h"
#include "model/kernels/kernels.h"
#include "model/threads.h"

namespace tristill {

struct PanelMatrix {
  kernels::PanelKind kind = kernels::PanelKind::ternary;
  size_t rows = 0;  // that the panels hold, padding included: a multiple of 32
  size_t cols = 0;
  uint8_t* data = nullptr;   // of the model's memory
  std::vector<float> scale;  // [rows] when scaled_by_row(kind), else one a half panel, [rows / 16]
  std::vector<float> bias;  // [rows], -0 where a part has none; empty: no part has one

  size_t n_panels() const { return rows / kernels::kPanelRows; }
  size_t bytes() const { return n_panels() * kernels::panel_bytes(kind, cols); }
};

// How the rows of several matrices follow each other.
enum class Stacking {
  sequence,  // all of the first, then all of the next, each padded to a multiple of 16 rows
  alternating  // 16 of the first, 16 of the second, and so on: gate and up
};

// The shape of the stack; no data yet. kind ternary or dense takes ternary matrices, int8 and int4
// take int8 ones.
PanelMatrix panel_shape(kernels::PanelKind kind, Stacking stacking,
                        std::span<const IntegerMatrix* const> parts);

// Fills matrix.data (matrix.bytes() of it), scale and bias, on the team. int4 weights are the int8
// ones rounded to a coarser step of the row: the one of a few that loses least in the mean square.
void fill_panels(PanelMatrix& matrix, Stacking stacking,
                 std::span<const IntegerMatrix* const> parts, ThreadTeam& team);

// Into how many parts to split the matrix's panels for the team: each stays in the second-level
// cache while every tile of tokens meets it, and there are enough for everybody.
uint32_t parts_of_panels(const PanelMatrix& matrix, const ThreadTeam& team);

}  // namespace tristill
