// Which texts are pieces of others. A trace may be any window of a document, so that resemblance
// (train/data/near_duplicates.h) says little of it:
//
//   c(A, B) = |S(A) & S(B)| / |S(A)|                     containment, Broder 1997, section 2
// S as there: the set of runs of 5 tokens. A piece of fewer than kLeastPieceRuns is in nothing: it
// is too short to tell a copy from what everybody writes. Immutable after construction: any
// thread.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace tristill::train {

inline constexpr size_t kLeastPieceRuns = 32;

// Few texts, by their runs: documents that are asked about many pieces, or pieces that are looked
// for in many documents.
class RunIndex {
 public:
  explicit RunIndex(std::span<const std::string_view> texts);
  // The largest c(piece, B) over the texts B.
  double containment(std::string_view piece) const;
  // The texts A, by their place, with c(A, document) of threshold or more.
  std::vector<size_t> held_by(std::string_view document, double threshold) const;

 private:
  // How many of the runs each text has.
  std::vector<uint32_t> shared(const std::vector<uint64_t>& runs) const;

  std::vector<size_t> n_runs_;  // by text
  std::unordered_map<uint64_t, std::vector<uint32_t>> texts_of_;  // by run
};

}  // namespace tristill::train
