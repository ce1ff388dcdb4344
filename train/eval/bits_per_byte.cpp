#include "train/eval/bits_per_byte.h"

#include <cmath>
#include <numbers>

namespace tristill::train {

Evaluation evaluate(const Student& student, const std::vector<Batch>& batches,
                    const std::function<void()>& done) {
  const torch::NoGradGuard no_grad;
  Evaluation result;
  double nats = 0;
  for (const Batch& batch : batches) {
    const LossSums sums =
        evaluate_head(student.hidden(batch.tokens, batch.segment_start), student.head(),
                      batch.labels.reshape({-1}), {.softcap = student.config().logit_softcap});
    nats += sums.ce;
    result.tokens += sums.tokens;
    result.bytes += batch.bytes;
    done();
  }
  result.loss = result.tokens > 0 ? nats / static_cast<double>(result.tokens) : 0;
  result.bits_per_byte =
      result.bytes > 0 ? nats / (static_cast<double>(result.bytes) * std::numbers::ln2) : 0;
  return result;
}

}  // namespace tristill::train
