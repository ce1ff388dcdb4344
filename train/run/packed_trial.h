// The forward pass of a model as it would be served, on random packed weights: what a dry run needs
// to know of a size before anyone has trained it. One thread at a time.
#pragma once

#include <cstdint>
#include <vector>

#include "model/config.h"

namespace tristill::train {

struct PackedTrial {
  double pack_seconds = 0;  // making the weights and packing them
  double forward_seconds = 0;  // of the prompt
  uint64_t weight_bytes = 0;  // as they were allocated
  uint64_t kv_bytes = 0;  // of the prompt's positions, likewise
  uint64_t resident_bytes = 0;  // of this process, after the forward pass; 0: unknown
  std::vector<float> logits;  // [V], of the last position
};

double largest_magnitude(const std::vector<float>& logits);
bool all_finite(const std::vector<float>& logits);
// max |a - b| of two trials' logits; not a number where one of them is none.
double largest_difference(const std::vector<float>& a, const std::vector<float>& b);

// The weights depend on the config's shape alone, so that trials with other activation bits see the
// same. Throws std::bad_alloc.
PackedTrial try_packed_forward(const ModelConfig& config, uint32_t n_tokens);

}  // namespace tristill::train
