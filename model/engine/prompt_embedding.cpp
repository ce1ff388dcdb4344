#include "model/engine/prompt_embedding.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace tristill::engine {

void PromptEmbedding::add(std::span<const float> states) {
  CHECK(states.size() % d_model_ == 0);
  sum_.resize(d_model_);
  for (; !states.empty(); states = states.subspan(d_model_), ++n_positions_) {
    for (size_t i = 0; i < d_model_; ++i) sum_[i] += static_cast<double>(states[i]);
  }
}

std::vector<float> PromptEmbedding::mean() const {
  CHECK(n_positions_ > 0);
  std::vector<float> mean(d_model_);
  for (size_t i = 0; i < d_model_; ++i) mean[i] = static_cast<float>(sum_[i] / n_positions_);
  return mean;
}

bool PromptEmbedding::is_finite() const {
  return std::ranges::all_of(sum_, [](double x) { return std::isfinite(x); });
}

}  // namespace tristill::engine
