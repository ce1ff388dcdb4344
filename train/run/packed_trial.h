// The forward pass of a model as it would be served, on random packed weights: what a dry run needs
// to know of a size before anyone has trained it. One thread at a time.
#pragma once

#include <cstdint>

#include "model/config.h"

namespace tristill::train {

struct PackedTrial {
  double pack_seconds = 0;  // making the weights and packing them
  double forward_seconds = 0;  // of the prompt
  uint64_t weight_bytes = 0;  // resident
  uint64_t kv_bytes = 0;  // of the prompt's positions
  double largest_logit = 0;  // magnitude
  bool finite = false;  // every logit of the last position
};

// The weights depend on the config's shape alone, so that trials with other activation bits see the
// same. Throws std::bad_alloc.
PackedTrial try_packed_forward(const ModelConfig& config, uint32_t n_tokens);

}  // namespace tristill::train
