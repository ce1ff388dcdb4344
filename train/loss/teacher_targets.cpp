#include "train/loss/teacher_targets.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace tristill::train {
namespace {

constexpr double kMostListed = 1 - 1e-6;

double mass_of(std::span<const float> logprobs) {
  double mass = 0;
  for (const float logprob : logprobs) mass += std::exp(static_cast<double>(logprob));
  return mass;
}

bool has_repeats(std::span<const int32_t> ids) {
  std::vector<int32_t> sorted(ids.begin(), ids.end());
  std::ranges::sort(sorted);
  return std::ranges::adjacent_find(sorted) != sorted.end();
}

float add_logs(float a, float b) {
  const double high = std::max(a, b);
  const double low = std::min(a, b);
  return static_cast<float>(high + std::log1p(std::exp(low - high)));
}

}  // namespace

void TeacherTargets::add(int64_t row, std::span<const int32_t> new_ids,
                         std::span<const float> new_logprobs, bool is_sampled) {
  CHECK(new_ids.size() == new_logprobs.size() && (rows.empty() || rows.back() < row));
  if (!(mass_of(new_logprobs) > 0)) return;  // a NaN, too
  const auto first = static_cast<ptrdiff_t>(ids.size());
  const bool merge = has_repeats(new_ids);
  for (size_t i = 0; i < new_ids.size(); ++i) {
    const auto known = merge ? std::find(ids.begin() + first, ids.end(), new_ids[i]) : ids.end();
    if (known != ids.end()) {
      float& logprob = logprobs[static_cast<size_t>(known - ids.begin())];
      logprob = add_logs(logprob, new_logprobs[i]);
    } else {
      ids.push_back(new_ids[i]);
      logprobs.push_back(new_logprobs[i]);
    }
  }
  rows.push_back(row);
  offsets.push_back(ids.size());
  sampled.push_back(is_sampled ? 1 : 0);
}

TeacherTargets TeacherTargets::between(int64_t first, int64_t end) const {
  TeacherTargets part;
  const auto from = std::ranges::lower_bound(rows, first) - rows.begin();
  const auto to = std::ranges::lower_bound(rows, end) - rows.begin();
  const size_t base = offsets[static_cast<size_t>(from)];
  for (auto i = from; i < to; ++i) {
    const auto row = static_cast<size_t>(i);
    part.rows.push_back(rows[row] - first);
    part.offsets.push_back(offsets[row + 1] - base);
    part.sampled.push_back(sampled[row]);
  }
  const auto begin = static_cast<ptrdiff_t>(base);
  const auto last = static_cast<ptrdiff_t>(base + part.offsets.back());
  part.ids.assign(ids.begin() + begin, ids.begin() + last);
  part.logprobs.assign(logprobs.begin() + begin, logprobs.begin() + last);
  return part;
}

double log_other(std::span<const float> logprobs) {
  return std::log1p(-std::min(mass_of(logprobs), kMostListed));
}

}  // namespace tristill::train
