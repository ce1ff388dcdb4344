// Distillation of one token from the teacher's whole distribution, as a teacher in this process
// gives it: nothing is left out, so there is no bin for the rest. Pure; any thread.
//   p = softmax(log t / tau), q = softmax(z / tau);  loss = tau^2 * divergence(p, q)
//   forward KL  d loss / d z_j = tau (q_j - p_j)
//   reverse KL  d loss / d z_j = tau q_j (log q_j - log p_j - KL(q || p))
// These two in one pass of floats; the others by their files in double.
#pragma once

#include <cstdint>

#include "train/job/loss_spec.h"

namespace tristill::train {

// Adds weight * d loss / d z to gradient [V]; returns the loss. log_teacher [V]: natural, summing
// to 1 at temperature 1; logits [V].
double add_dense_distillation(const job::DistillationSpec& spec, const float* log_teacher,
                              const float* logits, int64_t vocab, double weight, float* gradient);

}  // namespace tristill::train
