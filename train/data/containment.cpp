#include "train/data/containment.h"

#include <algorithm>

#include "train/data/near_duplicates.h"

namespace tristill::train {
namespace {

constexpr double kSlack = 1e-9;  // of a threshold times a count

using ByRun = std::unordered_map<uint64_t, std::vector<uint32_t>>;

// How many of the runs each of `n` texts has.
std::vector<uint32_t> shared(const std::vector<uint64_t>& runs, const ByRun& texts_of, size_t n) {
  std::vector<uint32_t> n_shared(n);
  for (const uint64_t run : runs) {
    const auto found = texts_of.find(run);
    if (found == texts_of.end()) continue;
    for (const uint32_t text : found->second) ++n_shared[text];
  }
  return n_shared;
}

}  // namespace

DocumentIndex::DocumentIndex(std::span<const std::string_view> documents)
    : n_documents_(documents.size()) {
  for (size_t d = 0; d < documents.size(); ++d) {
    for (const uint64_t run : shingles(documents[d])) {
      documents_of_[run].push_back(static_cast<uint32_t>(d));
    }
  }
}

double DocumentIndex::containment(std::string_view piece) const {
  const auto runs = shingles(piece);
  if (runs.size() < kLeastPieceRuns || n_documents_ == 0) return 0;
  const auto n_shared = shared(runs, documents_of_, n_documents_);
  return static_cast<double>(*std::ranges::max_element(n_shared)) /
         static_cast<double>(runs.size());
}

PieceIndex::PieceIndex(std::span<const std::string> pieces) : n_runs_(pieces.size()) {
  for (size_t p = 0; p < pieces.size(); ++p) {
    const auto runs = shingles(pieces[p]);
    n_runs_[p] = runs.size();
    for (const uint64_t run : runs) pieces_of_[run].push_back(static_cast<uint32_t>(p));
  }
}

std::vector<size_t> PieceIndex::held_by(std::string_view document, double threshold) const {
  const auto n_shared = shared(shingles(document), pieces_of_, n_runs_.size());
  std::vector<size_t> held;
  for (size_t p = 0; p < n_runs_.size(); ++p) {
    const double least = threshold * static_cast<double>(n_runs_[p]) - kSlack;
    if (n_runs_[p] >= kLeastPieceRuns && static_cast<double>(n_shared[p]) >= least) {
      held.push_back(p);
    }
  }
  return held;
}

}  // namespace tristill::train
