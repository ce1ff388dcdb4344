// loss.divergence forward_kl                                   Hinton et al. 2015, section 2
//
//   KL(p || q) = sum_i p_i (log p_i - log q_i)
//   gradient   = q_i - p_i
//
// Covers all that the teacher does. The only divergence that stays unbiased when p is sampled.
#pragma once

#include "train/loss/bin_pair.h"

namespace tristill::train {

// Returns the loss; gradient, one a bin, is d loss / d v for q = softmax(v).
double forward_kl(const BinPair& bins, std::span<double> gradient);

}  // namespace tristill::train
