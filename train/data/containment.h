// Which texts are pieces of others. A trace may be any window of a document, so that resemblance
// (train/data/near_duplicates.h) says little of it:
//
//   c(A, B) = |S(A) & S(B)| / |S(A)|                     containment, Broder 1997, section 2
// S as there: the set of runs of 5 tokens. A piece of fewer than kLeastPieceRuns is in nothing: it
// is too short to tell a copy from what everybody writes. Both classes are immutable after
// construction: any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace tristill::train {

inline constexpr size_t kLeastPieceRuns = 32;

// Few documents, asked about many pieces.
class DocumentIndex {
 public:
  explicit DocumentIndex(std::span<const std::string_view> documents);
  // The largest c(piece, B) over the documents B.
  double containment(std::string_view piece) const;

 private:
  size_t n_documents_ = 0;
  std::unordered_map<uint64_t, std::vector<uint32_t>> documents_of_;  // by run
};

// Few pieces, looked for in many documents.
class PieceIndex {
 public:
  explicit PieceIndex(std::span<const std::string> pieces);
  // The pieces A, by their place, with c(A, document) of threshold or more.
  std::vector<size_t> held_by(std::string_view document, double threshold) const;

 private:
  std::vector<size_t> n_runs_;  // by piece
  std::unordered_map<uint64_t, std::vector<uint32_t>> pieces_of_;  // by run
};

}  // namespace tristill::train
