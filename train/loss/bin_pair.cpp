#include "train/loss/bin_pair.h"

#include <cmath>

namespace tristill::train {

void chain_through_softmax(std::span<const double> log_student, std::span<double> slopes) {
  double mean = 0;
  for (size_t i = 0; i < slopes.size(); ++i) mean += std::exp(log_student[i]) * slopes[i];
  for (size_t i = 0; i < slopes.size(); ++i) {
    slopes[i] = std::exp(log_student[i]) * (slopes[i] - mean);
  }
}

}  // namespace tristill::train
