#include "train/loss/label_loss.h"

#include <cmath>

namespace tristill::train {

LabelTerm label_term(const LabelLoss& spec, double ce, double mean_ce, int64_t vocab) {
  if (spec.smoothing > 0) {
    const double kept = 1 - spec.smoothing;
    return {.loss = kept * ce + spec.smoothing * mean_ce,
            .softmax = 1,
            .label = kept,
            .uniform = spec.smoothing / static_cast<double>(vocab)};
  }
  if (spec.focal_gamma > 0) {
    const double p = std::exp(-ce);
    const double rest = -std::expm1(-ce);  // 1 - p, exact where p is near 1
    if (rest <= 0) return {.loss = 0, .softmax = 0, .label = 0};
    const double share = std::pow(rest, spec.focal_gamma);
    const double slope = share + spec.focal_gamma * p * share / rest * ce;
    return {.loss = share * ce, .softmax = slope, .label = slope};
  }
  return {.loss = ce};
}

}  // namespace tristill::train
