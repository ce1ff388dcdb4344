// loss.divergence jsd: the generalised Jensen-Shannon divergence      Agarwal et al. 2023 (GKD)
//
//   m        = beta p + (1 - beta) q
//   JSD_beta = beta KL(p || m) + (1 - beta) KL(q || m)
//   gradient = q_i (h_i - sum_k q_k h_k),  h_i = (1 - beta) log(q_i / m_i)
//
// Divided by beta it tends to forward KL for beta -> 0; by 1 - beta to reverse KL for beta -> 1.
// Bounded: at most the entropy of (beta, 1 - beta).
#pragma once

#include "train/loss/bin_pair.h"

namespace tristill::train {

// 0 < beta < 1. Returns the loss; gradient, one a bin, is d loss / d v for q = softmax(v).
double jensen_shannon(const BinPair& bins, double beta, std::span<double> gradient);

}  // namespace tristill::train
