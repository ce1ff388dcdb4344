#include "train/data/containment.h"

#include <algorithm>

#include "train/data/near_duplicates.h"

namespace tristill::train {
namespace {

constexpr double kSlack = 1e-9;  // of a threshold times a count

}  // namespace

RunIndex::RunIndex(std::span<const std::string_view> texts) {
  for (size_t t = 0; t < texts.size(); ++t) {
    const auto runs = shingles(texts[t]);
    n_runs_.push_back(runs.size());
    for (const uint64_t run : runs) texts_of_[run].push_back(static_cast<uint32_t>(t));
  }
}

std::vector<uint32_t> RunIndex::shared(const std::vector<uint64_t>& runs) const {
  std::vector<uint32_t> n_shared(n_runs_.size());
  for (const uint64_t run : runs) {
    const auto found = texts_of_.find(run);
    if (found == texts_of_.end()) continue;
    for (const uint32_t text : found->second) ++n_shared[text];
  }
  return n_shared;
}

double RunIndex::containment(std::string_view piece) const {
  const auto runs = shingles(piece);
  if (runs.size() < kLeastPieceRuns || n_runs_.empty()) return 0;
  const auto n_shared = shared(runs);
  return static_cast<double>(*std::ranges::max_element(n_shared)) /
         static_cast<double>(runs.size());
}

std::vector<size_t> RunIndex::held_by(std::string_view document, double threshold) const {
  const auto n_shared = shared(shingles(document));
  std::vector<size_t> held;
  for (size_t t = 0; t < n_runs_.size(); ++t) {
    const double least = threshold * static_cast<double>(n_runs_[t]) - kSlack;
    if (n_runs_[t] >= kLeastPieceRuns && static_cast<double>(n_shared[t]) >= least) {
      held.push_back(t);
    }
  }
  return held;
}

}  // namespace tristill::train
