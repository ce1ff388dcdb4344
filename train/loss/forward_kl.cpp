#include "train/loss/forward_kl.h"

#include <cmath>

namespace tristill::train {

double forward_kl(const BinPair& bins, std::span<double> gradient) {
  double loss = 0;
  for (size_t i = 0; i < gradient.size(); ++i) {
    const double p = std::exp(bins.log_teacher[i]);
    loss += p * (bins.log_teacher[i] - bins.log_student[i]);
    gradient[i] = std::exp(bins.log_student[i]) - p;
  }
  return loss;
}

}  // namespace tristill::train
