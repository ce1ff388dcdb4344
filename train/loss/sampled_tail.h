// loss.tail sampled: the tail's shape from the text itself, where it was drawn from the teacher at
// temperature 1. Pure; any thread.
//
//   x the token drawn, Q = sum of q off the list;  for x off the list, beside the bin Other:
//     loss     = -log(q_x / Q)
//     gradient = q_j / Q - 1{j = x} off the list, 0 on it
//
// By the chain rule KL(t || q) = KL over the K + 1 bins + o * KL within the tail, and x falls off
// the list with probability o and then has the tail's distribution. So the mean over x of the
// gradient is exactly that of the dense KL, while head and total tail are known and not sampled.
// A greedy or foreign text is no draw: trace records say which they are.
#pragma once

#include "train/loss/distillation.h"

namespace tristill::train {

// Adds the loss and the share of the gradient spread over the tail; the 1 at x is the caller's.
//   label_logit  z_x, less the same number as log_tail;  log_tail  log sum exp(z_j) off the list
void add_sampled_tail(double label_logit, double log_tail, DistilledToken& token);

}  // namespace tristill::train
