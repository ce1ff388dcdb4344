// HeldOutText: which texts are pieces of held-out ones. A trace may be any window of a document, so
// that resemblance (train/data/near_duplicates.h) says little of it:
//
//   c(A, B) = |S(A) & S(B)| / |S(A)|                     containment, Broder 1997, section 2
// S as there: the set of runs of 5 tokens. Immutable after construction: any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace tristill::train {

class HeldOutText {
 public:
  // A text of fewer runs is too short to tell a copy from what everybody writes.
  static constexpr size_t kLeastRuns = 32;

  explicit HeldOutText(std::span<const std::string_view> held_out);

  bool empty() const { return documents_of_.empty(); }
  // The largest c(text, B) over the held-out documents B; 0 of a text that is too short.
  double containment(std::string_view text) const;

 private:
  size_t n_documents_ = 0;
  std::unordered_map<uint64_t, std::vector<uint32_t>> documents_of_;  // by run
};

}  // namespace tristill::train
