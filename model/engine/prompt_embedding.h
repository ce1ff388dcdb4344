// PromptEmbedding: the mean of a model's states (Backend::states) over the positions of a prompt,
// for one sequence. A position counts once, however often it is computed. The engine's thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace tristill::engine {

class PromptEmbedding {
 public:
  explicit PromptEmbedding(size_t d_model) : d_model_(d_model) {}

  // Positions that have been added, from the first on.
  uint32_t n_positions() const { return n_positions_; }
  // states [n, D] of the positions that follow. Each dimension is one chain of additions in double
  // over the positions: the same bits however a prompt is split.
  void add(std::span<const float> states);
  // [D], not normalised; after at least one position.
  std::vector<float> mean() const;
  bool is_finite() const;

 private:
  size_t d_model_;
  uint32_t n_positions_ = 0;
  std::vector<double> sum_;  // [D]
};

}  // namespace tristill::engine
