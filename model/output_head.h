// OutputHead: the matrix that turns a token's state into logits, V rows of int8 with a scale each.
// Built once, then read by any thread.
//
// An exact head keeps each weight's bits in slices: weight + 128 = 16 h + 4 m + l. All three
// together are the product; the first alone says how great a logit can be at most, and so which
// rows need the others when only the greatest logit is wanted (shortlist.h).
#pragma once

#include <span>
#include <vector>

#include "model/format/model_file.h"
#include "model/panels.h"

namespace tristill {

struct OutputHead {
  PanelMatrix high;         // int4 panels of h - 8; of an int4 head: the weights
  PanelMatrix middle, low;  // ternary panels of m - 1 and l - 1; of an int4 head: no rows
  // [rows] Euclidean norms of what the slices behind leave open: of 4 m + l - 7.5 and l - 1.5 over
  // the columns, rounded up.
  std::vector<float> high_radius, middle_radius;

  bool is_sliced() const { return middle.rows > 0; }
  size_t rows() const { return high.rows; }  // padding included: a multiple of 32
  size_t bytes() const;

  // logits of a tile of tokens in panels begin .. end -> out [n_tokens, ld_out].
  kernels::LinearCall product(const kernels::TokenTile& x, size_t panel_begin, size_t panel_end,
                              float* out, size_t ld_out) const;

  // The matrix's row as numbers, weight * scale, [cols]. Of a sliced head.
  void read_row(size_t row, std::span<float> out) const;
};

// The shape of the head; no data yet. int8 rows become slices, or an int4 head (fill_panels).
OutputHead head_shape(const IntegerMatrix& matrix, bool int4);

// Fills the data of the head's matrices (bytes() of each), scales and radii, on the team.
void fill_head(OutputHead& head, const IntegerMatrix& matrix, ThreadTeam& team);

}  // namespace tristill
