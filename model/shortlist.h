// Shortlist: the most likely of each of a few tokens' successors, for fewer bytes than the whole
// output head has: where the high bits of the weights alone show that a row cannot be the greatest,
// its other bits are not read. Exact, ties included.
//
// The bound is Cauchy and Schwarz's: the low bits add to an exact sum at most the norm of what they
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

  // The row of the greatest logit for every token of x, the lowest on ties; rows from vocabulary on
  // are padding. head.is_sliced(). Valid until the next call. One thread at a time.
  std::span<const TokenId> find(const OutputHead& head, size_t vocabulary,
                                const kernels::TokenTile& x, ThreadTeam& team);

  // Panels of the last call whose middle and low bits were read.
  size_t n_refined() const { return n_refined_; }

 private:
  // Of a panel: logits by token.
  struct Exact {
    float of[kMostTokens][kernels::kPanelRows];
  };
  struct Best {
    float value;
    TokenId token;
  };

  void bound_panels(const kernels::TokenTile& x, size_t begin, size_t end);
  void raise_bar(const kernels::TokenTile& x, size_t t);
  bool may_win(const kernels::TokenTile& x, const float* bounds, size_t stride) const;
  bool refine(const kernels::TokenTile& x, size_t panel, Exact& exact) const;
  void add_low_bits(const kernels::TokenTile& x, size_t panel, const int32_t* middle,
                    Exact& exact) const;
  size_t rows_of(size_t panel) const;

  const OutputHead* head_ = nullptr;
  size_t vocabulary_ = 0;
  std::vector<int32_t> high_;  // [tokens, rows] sums of the high bits
  std::vector<float> bounds_;  // [tokens, panels] greatest sums times scale, at most
  std::vector<Best> best_;  // [parts, tokens]
  std::vector<TokenId> found_;
  float norm_[kMostTokens] = {};
  float bar_[kMostTokens] = {};  // a logit that is reached: the greatest is not less
  size_t n_refined_ = 0;
};

}  // namespace tristill
