// loss.divergence reverse_kl                                        Gu et al. 2023 (MiniLLM)
//
//   KL(q || p) = sum_i q_i (log q_i - log p_i)
//   gradient   = q_i (log(q_i / p_i) - KL(q || p))
//
// Leaves out what the teacher hardly ever does rather than covering it badly. Its gradient grows
// with log(1 / p): skew_reverse_kl bounds it.
#pragma once

#include "train/loss/bin_pair.h"

namespace tristill::train {

// Returns the loss; gradient, one a bin, is d loss / d v for q = softmax(v).
double reverse_kl(const BinPair& bins, std::span<double> gradient);

}  // namespace tristill::train
