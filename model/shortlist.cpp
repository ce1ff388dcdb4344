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

size_t Shortlist::rows_of(size_t panel) const {
  return std::min(kPanelRows, vocabulary_ - std::min(vocabulary_, panel * kPanelRows));
}

std::span<const TokenId> Shortlist::find(const OutputHead& head, size_t vocabulary,
                                         const TokenTile& x, ThreadTeam& team) {
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
  for (size_t t = 0; t < n_tokens; ++t) raise_bar(x, t);
  best_.assign(n_parts * n_tokens, {kNone, kNoToken});
  std::atomic<size_t> n_refined{0};
  team.run(n_parts, [&](uint32_t part, uint32_t) {
    const Share mine = share_of(n_panels, 1, part, n_parts);
    Exact exact;
    for (size_t panel = mine.begin; panel < mine.end; ++panel) {
      if (!refine(x, panel, exact)) continue;
      n_refined.fetch_add(1, std::memory_order_relaxed);
      for (size_t t = 0; t < n_tokens; ++t) {
        Best& best = best_[part * n_tokens + t];
        for (size_t r = 0; r < rows_of(panel); ++r) {
          if (exact.of[t][r] <= best.value) continue;
          best = {exact.of[t][r], static_cast<TokenId>(panel * kPanelRows + r)};
        }
      }
    }
  });
  n_refined_ = n_refined.load();
  found_.clear();
  for (size_t t = 0; t < n_tokens; ++t) {
    Best best{kNone, kNoToken};
    for (uint32_t part = 0; part < n_parts; ++part) {  // in the order of the rows
      if (best_[part * n_tokens + t].value > best.value) best = best_[part * n_tokens + t];
    }
    found_.push_back(std::isfinite(best.value) ? best.token : kNoToken);
  }
  return found_;
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

// The bar is the greatest logit of the panel that promises most.
void Shortlist::raise_bar(const TokenTile& x, size_t t) {
  const size_t n_panels = head_->high.n_panels();
  const auto bounds = std::span(bounds_).subspan(t * n_panels, n_panels);
  const auto best =
      static_cast<size_t>(std::max_element(bounds.begin(), bounds.end()) - bounds.begin());
  int32_t middle[kMostTokens * kPanelRows];
  Exact exact;
  add_sums(head_->middle, x, best, best + 1, middle, kPanelRows);
  add_low_bits(x, best, middle, exact);
  bar_[t] = *std::max_element(exact.of[t], exact.of[t] + rows_of(best));
}

// Whether a logit of a token can reach its bar, when bounds[t * stride] is what exact sums times
// their rows' scales are at most.
bool Shortlist::may_win(const TokenTile& x, const float* bounds, size_t stride) const {
  bool may = false;
  for (size_t t = 0; t < x.n_tokens; ++t) {
    const float most = bounds[t * stride] * x.scale[t];
    may |= most + std::fabs(most) * kSlack >= bar_[t];
  }
  return may;
}

// Whether a row of the panel may be the greatest of a token; if so, exact has the panel's logits.
bool Shortlist::refine(const TokenTile& x, size_t panel, Exact& exact) const {
  const size_t row = panel * kPanelRows;
  if (!may_win(x, bounds_.data() + panel, head_->high.n_panels())) return false;
  int32_t middle[kMostTokens * kPanelRows];
  add_sums(head_->middle, x, panel, panel + 1, middle, kPanelRows);
  float bounds[kMostTokens];
  for (size_t t = 0; t < x.n_tokens; ++t) {
    int32_t both[kPanelRows];
    for (size_t r = 0; r < kPanelRows; ++r) {
      both[r] = 4 * high_[t * head_->rows() + row + r] + middle[t * kPanelRows + r];
    }
    const SumBound bound{4.0F, 5.5F * static_cast<float>(x.sum[t]),
                         head_->middle_radius.data() + row, norm_[t]};
    bounds[t] =
        kernels::best().greatest_bound(both, bound, head_->high.scale.data() + row, rows_of(panel));
  }
  if (!may_win(x, bounds, 1)) return false;
  add_low_bits(x, panel, middle, exact);
  return true;
}

// The logits of a panel whose high and middle sums are there.
void Shortlist::add_low_bits(const TokenTile& x, size_t panel, const int32_t* middle,
                             Exact& exact) const {
  const size_t row = panel * kPanelRows;
  int32_t low[kMostTokens * kPanelRows];
  add_sums(head_->low, x, panel, panel + 1, low, kPanelRows);
  for (size_t t = 0; t < x.n_tokens; ++t) {
    for (size_t r = 0; r < kPanelRows; ++r) {
      const int32_t sum = 16 * high_[t * head_->rows() + row + r] + 4 * middle[t * kPanelRows + r] +
                          low[t * kPanelRows + r] + 5 * x.sum[t];
      exact.of[t][r] = static_cast<float>(sum) * (head_->high.scale[row + r] * x.scale[t]);
    }
  }
}

}  // namespace tristill
