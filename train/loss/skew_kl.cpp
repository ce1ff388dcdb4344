#include "train/loss/skew_kl.h"

#include <cmath>

namespace tristill::train {

double skew_kl(const BinPair& bins, double alpha, std::span<double> gradient) {
  double loss = 0;
  for (size_t i = 0; i < gradient.size(); ++i) {
    const double p = std::exp(bins.log_teacher[i]);
    const double m = alpha * p + (1 - alpha) * std::exp(bins.log_student[i]);
    loss += p * (bins.log_teacher[i] - std::log(m));
    gradient[i] = -(1 - alpha) * p / m;
  }
  chain_through_softmax(bins.log_student, gradient);
  return loss;
}

double skew_reverse_kl(const BinPair& bins, double alpha, std::span<double> gradient) {
  double loss = 0;
  for (size_t i = 0; i < gradient.size(); ++i) {
    const double q = std::exp(bins.log_student[i]);
    const double m = (1 - alpha) * std::exp(bins.log_teacher[i]) + alpha * q;
    const double log_ratio = bins.log_student[i] - std::log(m);
    loss += q * log_ratio;
    gradient[i] = log_ratio - alpha * q / m;
  }
  chain_through_softmax(bins.log_student, gradient);
  return loss;
}

}  // namespace tristill::train
