// What a job's quantisation is at a point of its run. Pure, any thread: a resumed run, which knows
// its step and tokens, quantises as if it had never stopped.
#pragma once

#include <cstdint>

#include "train/job/spec.h"

namespace tristill::train {

struct QuantizationPoint {
  uint32_t activation_bits = 8;
  uint32_t down_activation_bits = 8;
  double strength = 1.0;  // of quantisation: below 1 while it warms up

  bool operator==(const QuantizationPoint&) const = default;
};

// For the step that follows `steps` steps on `tokens` labelled tokens.
QuantizationPoint quantization_at(const job::TrainSpec& spec, int64_t steps, double tokens);

}  // namespace tristill::train
