#include "train/loss/jsd.h"

#include <cmath>

namespace tristill::train {

double jensen_shannon(const BinPair& bins, double beta, std::span<double> gradient) {
  double loss = 0;
  for (size_t i = 0; i < gradient.size(); ++i) {
    const double p = std::exp(bins.log_teacher[i]);
    const double q = std::exp(bins.log_student[i]);
    const double log_m = std::log(beta * p + (1 - beta) * q);
    gradient[i] = (1 - beta) * (bins.log_student[i] - log_m);
    loss += beta * p * (bins.log_teacher[i] - log_m) + q * gradient[i];
  }
  chain_through_softmax(bins.log_student, gradient);
  return loss;
}

}  // namespace tristill::train
