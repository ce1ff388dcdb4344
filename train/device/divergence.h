// The divergences of train/loss/{forward_kl,reverse_kl,jsd,skew_kl}.h, for many tokens at once: the
// same formulas on rows of a tensor. Pure; trainer's thread.
#pragma once

#include <torch/types.h>

#include "train/job/loss_spec.h"

namespace tristill::train::device {

// Rows of natural logarithms [R, K] fp64, each of probabilities that sum to 1 and finite. A bin
// that is as good as empty on both sides adds nothing, so that rows of fewer bins can be filled up.
struct BinRows {
  torch::Tensor log_teacher, log_student;
};

struct DivergedRows {
  torch::Tensor loss;  // [R]
  torch::Tensor gradient;  // [R, K]: by v where the student's are softmax(v)
};

DivergedRows diverge(const job::DistillationSpec& spec, const BinRows& bins);

}  // namespace tristill::train::device
