#include "train/loss/reverse_kl.h"

#include <cmath>

namespace tristill::train {

double reverse_kl(const BinPair& bins, std::span<double> gradient) {
  double loss = 0;
  for (size_t i = 0; i < gradient.size(); ++i) {
    gradient[i] = bins.log_student[i] - bins.log_teacher[i];
    loss += std::exp(bins.log_student[i]) * gradient[i];
  }
  chain_through_softmax(bins.log_student, gradient);
  return loss;
}

}  // namespace tristill::train
