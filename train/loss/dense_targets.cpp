#include "train/loss/dense_targets.h"

#include <cmath>

namespace tristill::train {

using torch::Tensor;

Tensor chunk_logits(const Tensor& hidden, const LinearWeight& head, int64_t begin, int64_t end) {
  const torch::NoGradGuard no_grad;
  return linear_group(hidden.slice(0, begin, end), {&head})[0];
}

Tensor teacher_logprobs(const std::vector<DenseTeacher>& teachers, int64_t begin, int64_t end) {
  double total = 0;
  for (const DenseTeacher& teacher : teachers) total += teacher.weight;
  Tensor mixture;
  for (const DenseTeacher& teacher : teachers) {
    Tensor logits = chunk_logits(teacher.hidden, *teacher.head, begin, end);
    if (teacher.softcap > 0) logits = teacher.softcap * at::tanh(logits / teacher.softcap);
    const Tensor logprobs = logits.log_softmax(1) + std::log(teacher.weight / total);
    mixture = mixture.defined() ? at::logaddexp(mixture, logprobs) : logprobs;
  }
  return mixture;
}

}  // namespace tristill::train
