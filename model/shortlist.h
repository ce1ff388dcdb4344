// Shortlist: the logits of a few tokens of which only the greatest is wanted, for fewer bytes than
// the whole head has: where the high bits of the weights alone show that a row cannot be the
// greatest, its other bits are not read. Exact: what the bound rules out is less than the greatest
// (or, were it equal, is not ruled out).
//
// The bound is Cauchy and Schwarz's: of an exact sum the low bits add at most the norm of what they
// stand for times the norm of the token.
#pragma once

#include <span>
#include <vector>

#include "model/output_head.h"
#include "model/threads.h"

namespace tristill {

class Shortlist {
 public:
  // More are cheaper to compute whole: the products cost more than the bytes.
  static constexpr size_t kMostTokens = 2;

  // logits [x.n_tokens, head.rows()]: rows that may hold a token's greatest are exact, others
  // -infinity. head.is_sliced(); rows from vocabulary on are padding. One thread at a time.
  void compute(const OutputHead& head, size_t vocabulary, const kernels::TokenTile& x,
               ThreadTeam& team, float* logits);

  // Panels of the last call whose middle and low bits were read.
  size_t n_refined() const { return n_refined_; }

 private:
  struct PanelSums;

  void bound_panels(const kernels::TokenTile& x, size_t begin, size_t end);
  bool reaches_bar(const kernels::TokenTile& x, size_t t, float bound) const;
  bool refine(const kernels::TokenTile& x, size_t panel, float* logits);
  void exact_panel(const kernels::TokenTile& x, size_t panel, PanelSums& sums, float* logits) const;
  size_t rows_of(size_t panel) const;

  const OutputHead* head_ = nullptr;
  size_t vocabulary_ = 0;
  std::vector<int32_t> high_;  // [tokens, rows] sums of the high bits
  std::vector<float> bounds_;  // [tokens, panels] greatest sums times scale, at most
  float norm_[kMostTokens] = {};
  float bar_[kMostTokens] = {};  // a logit that is reached: the greatest is not less
  size_t n_refined_ = 0;
};

}  // namespace tristill
