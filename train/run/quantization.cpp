#include "train/run/quantization.h"

namespace tristill::train {

QuantizationPoint quantization_at(const job::TrainSpec& spec, int64_t steps, double tokens) {
  const job::QuantizationSpec& quantization = spec.quantization;
  QuantizationPoint point;
  const auto flip = job::flip_tokens(quantization, spec.budget);
  const bool flipped = flip && tokens >= static_cast<double>(*flip);
  if (flipped || quantization.activation_bits == 4) {
    point.activation_bits = 4;
    point.down_activation_bits = quantization.keep_a8_before_down ? 8 : 4;
  }
  if (steps < quantization.lambda_warmup_steps) {
    point.strength = static_cast<double>(steps) / quantization.lambda_warmup_steps;
  }
  return point;
}

}  // namespace tristill::train
