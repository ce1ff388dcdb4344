#include "train/device/divergence.h"

#include "base/check.h"

namespace tristill::train::device {
namespace {

using torch::Tensor;

// What loss and slopes d loss / d q_i come to, once through the student's softmax.
DivergedRows through_softmax(const Tensor& terms, const Tensor& slopes, const Tensor& q) {
  const Tensor mean = (q * slopes).sum(1, /*keepdim=*/true);
  return {terms.sum(1), q * (slopes - mean)};
}

}  // namespace

DivergedRows diverge(const job::DistillationSpec& spec, const BinRows& bins) {
  const Tensor& log_p = bins.log_teacher;
  const Tensor& log_q = bins.log_student;
  const Tensor p = log_p.exp();
  const Tensor q = log_q.exp();
  const double alpha = spec.skew_alpha;
  const double beta = spec.jsd_beta;
  switch (spec.divergence) {
    case job::Divergence::forward_kl: return {(p * (log_p - log_q)).sum(1), q - p};
    case job::Divergence::reverse_kl: {
      const Tensor slopes = log_q - log_p;
      return through_softmax(q * slopes, slopes, q);
    }
    case job::Divergence::jsd: {
      const Tensor log_m = (beta * p + (1 - beta) * q).log();
      const Tensor slopes = (1 - beta) * (log_q - log_m);
      return through_softmax(beta * p * (log_p - log_m) + q * slopes, slopes, q);
    }
    case job::Divergence::skew_kl: {
      const Tensor m = alpha * p + (1 - alpha) * q;
      return through_softmax(p * (log_p - m.log()), -(1 - alpha) * p / m, q);
    }
    case job::Divergence::skew_reverse_kl: {
      const Tensor m = (1 - alpha) * p + alpha * q;
      const Tensor log_ratio = log_q - m.log();
      return through_softmax(q * log_ratio, log_ratio - alpha * q / m, q);
    }
  }
  CHECK(false);
}

}  // namespace tristill::train::device
