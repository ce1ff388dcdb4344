#include "train/loss/sampled_tail.h"

namespace tristill::train {

void add_sampled_tail(double label_logit, double log_tail, DistilledToken& token) {
  token.loss += log_tail - label_logit;
  token.off_list += 1.0;
}

}  // namespace tristill::train
