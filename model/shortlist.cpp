#include "model/shortlist.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include "base/check.h"

namespace tristill {
namespace {

using kernels::Finish;
using kernels::kPanelRows;
using kernels::SumBound;
using kernels::TokenTile;

constexpr float kNone = -std::numeric_limits<float>::infinity();
// What rounding may take from a bound, as a share of it.
constexpr float kSlack = 1e-6F;

// Norms of the tile's tokens, rounded up.
float norm_of(const TokenTile& x, size_t cols, size_t t) {
  int64_t sum = 0;
  for (size_t g = 0; g < (cols + 3) / 4; ++g) {
    const int8_t* q = x.q + (g * x.n_tokens + t) * 4;
    for (size_t j = 0; j < 4; ++j) sum += q[j] * q[j];
  }
  return static_cast<float>(std::sqrt(static_cast<double>(sum))) * (1.0F + kSlack);
}

void add_sums(const PanelMatrix& matrix, const TokenTile& x, size_t begin, size_t end, int32_t* out,
              size_t ld_out) {
  kernels::best().linear({.x = x,
                          .kind = matrix.kind,
                          .panels = matrix.data,
                          .cols = matrix.cols,
                          .panel_begin = begin,
                          .panel_end = end,
                          .scale = nullptr,
                          .finish = Finish::sums,
                          .out = out,
                          .ld_out = ld_out});
}

}  // namespace

// Of one panel: sums of the slices by token.
struct Shortlist::PanelSums {
  int32_t middle[kMostTokens * kPanelRows];
  int32_t low[kMostTokens * kPanelRows];
};

size_t Shortlist::rows_of(size_t panel) const {
  return std::min(kPanelRows, vocabulary_ - std::min(vocabulary_, panel * kPanelRows));
}

void Shortlist::compute(const OutputHead& head, size_t vocabulary, const TokenTile& x,
                        ThreadTeam& team, float* logits) {
  CHECK(head.is_sliced() && x.n_tokens <= kMostTokens);
  head_ = &head;
  vocabulary_ = vocabulary;
  const size_t n_tokens = x.n_tokens;
  const size_t n_panels = head.high.n_panels();
  const uint32_t n_parts = parts_of_panels(head.high, team);
  if (high_.size() < n_tokens * head.rows()) high_.resize(n_tokens * head.rows());
  bounds_.resize(n_tokens * n_panels);
  for (size_t t = 0; t < n_tokens; ++t) norm_[t] = norm_of(x, head.high.cols, t);
  team.run(n_parts, [&](uint32_t part, uint32_t) {
    const Share mine = share_of(n_panels, 1, part, n_parts);
    bound_panels(x, mine.begin, mine.end);
  });
  for (size_t t = 0; t < n_tokens; ++t) {
    const auto bounds = std::span(bounds_).subspan(t * n_panels, n_panels);
    const auto best =
        static_cast<size_t>(std::max_element(bounds.begin(), bounds.end()) - bounds.begin());
    PanelSums sums;
    add_sums(head.middle, x, best, best + 1, sums.middle, kPanelRows);
    exact_panel(x, best, sums, logits);
    const float* reached = logits + t * head.rows() + best * kPanelRows;
    bar_[t] = *std::max_element(reached, reached + rows_of(best));
  }
  std::atomic<size_t> n_refined{0};
  team.run(n_parts, [&](uint32_t part, uint32_t) {
    const Share mine = share_of(n_panels, 1, part, n_parts);
    size_t n = 0;
    for (size_t panel = mine.begin; panel < mine.end; ++panel) {
      if (refine(x, panel, logits)) {
        ++n;
        continue;
      }
      for (size_t t = 0; t < n_tokens; ++t) {
        std::fill_n(logits + t * head.rows() + panel * kPanelRows, kPanelRows, kNone);
      }
    }
    n_refined.fetch_add(n, std::memory_order_relaxed);
  });
  n_refined_ = n_refined.load();
}

// How great the logits of these panels can be, by the high bits alone.
void Shortlist::bound_panels(const TokenTile& x, size_t begin, size_t end) {
  const size_t ld = head_->rows();
  add_sums(head_->high, x, begin, end, high_.data() + begin * kPanelRows, ld);
  for (size_t t = 0; t < x.n_tokens; ++t) {
    for (size_t panel = begin; panel < end; ++panel) {
      const size_t row = panel * kPanelRows;
      const SumBound bound{16.0F, 7.5F * static_cast<float>(x.sum[t]),
                           head_->high_radius.data() + row, norm_[t]};
      bounds_[t * head_->high.n_panels() + panel] = kernels::best().greatest_bound(
          high_.data() + t * ld + row, bound, head_->high.scale.data() + row, rows_of(panel));
    }
  }
}

// Whether a row of the panel may be the greatest of a token; if so, its logits are there.
bool Shortlist::refine(const TokenTile& x, size_t panel, float* logits) {
  const size_t row = panel * kPanelRows;
  bool open = false;
  for (size_t t = 0; t < x.n_tokens; ++t) {
    open |= reaches_bar(x, t, bounds_[t * head_->high.n_panels() + panel]);
  }
  if (!open) return false;
  PanelSums sums;
  add_sums(head_->middle, x, panel, panel + 1, sums.middle, kPanelRows);
  open = false;
  for (size_t t = 0; t < x.n_tokens; ++t) {
    int32_t both[kPanelRows];
    for (size_t r = 0; r < kPanelRows; ++r) {
      both[r] = 4 * high_[t * head_->rows() + row + r] + sums.middle[t * kPanelRows + r];
    }
    const SumBound bound{4.0F, 5.5F * static_cast<float>(x.sum[t]),
                         head_->middle_radius.data() + row, norm_[t]};
    open |= reaches_bar(x, t,
                        kernels::best().greatest_bound(both, bound, head_->high.scale.data() + row,
                                                       rows_of(panel)));
  }
  if (!open) return false;
  exact_panel(x, panel, sums, logits);
  return true;
}

// Whether a logit can reach the bar whose exact sum times its row's scale is at most bound.
bool Shortlist::reaches_bar(const TokenTile& x, size_t t, float bound) const {
  const float most = bound * x.scale[t];
  return most + std::fabs(most) * kSlack >= bar_[t];
}

// The logits of a panel whose high and middle sums are there.
void Shortlist::exact_panel(const TokenTile& x, size_t panel, PanelSums& sums,
                            float* logits) const {
  const size_t ld = head_->rows();
  const size_t row = panel * kPanelRows;
  add_sums(head_->low, x, panel, panel + 1, sums.low, kPanelRows);
  for (size_t t = 0; t < x.n_tokens; ++t) {
    for (size_t r = 0; r < kPanelRows; ++r) {
      const int32_t exact = 16 * high_[t * ld + row + r] + 4 * sums.middle[t * kPanelRows + r] +
                            sums.low[t * kPanelRows + r] + 5 * x.sum[t];
      logits[t * ld + row + r] =
          static_cast<float>(exact) * (head_->high.scale[row + r] * x.scale[t]);
    }
  }
}

}  // namespace tristill
