#include "train/data/held_out_text.h"

#include <algorithm>

#include "train/data/near_duplicates.h"

namespace tristill::train {

HeldOutText::HeldOutText(std::span<const std::string_view> held_out)
    : n_documents_(held_out.size()) {
  for (size_t d = 0; d < held_out.size(); ++d) {
    for (const uint64_t run : shingles(held_out[d])) {
      documents_of_[run].push_back(static_cast<uint32_t>(d));
    }
  }
}

double HeldOutText::containment(std::string_view text) const {
  const auto runs = shingles(text);
  if (runs.size() < kLeastRuns || empty()) return 0;
  std::vector<uint32_t> n_shared(n_documents_);
  for (const uint64_t run : runs) {
    const auto found = documents_of_.find(run);
    if (found == documents_of_.end()) continue;
    for (const uint32_t document : found->second) ++n_shared[document];
  }
  const uint32_t most = *std::ranges::max_element(n_shared);
  return static_cast<double>(most) / static_cast<double>(runs.size());
}

}  // namespace tristill::train
