// loss.divergence skew_kl and skew_reverse_kl                     Ko et al. 2024 (DistiLLM)
//
//   skew_kl         = KL(p || m),  m = alpha p + (1 - alpha) q
//     gradient      = q_i (h_i - sum_k q_k h_k),  h_i = -(1 - alpha) p_i / m_i
//   skew_reverse_kl = KL(q || m),  m = (1 - alpha) p + alpha q
//     gradient      = q_i (h_i - sum_k q_k h_k),  h_i = log(q_i / m_i) - alpha q_i / m_i
//
// Some of the other side in m keeps ratios below 1 / alpha, and with them the gradient: the safest
// choice for a noisy student. alpha -> 0 is forward and reverse KL.
#pragma once

#include "train/loss/bin_pair.h"

namespace tristill::train {

// 0 < alpha < 1. Return the loss; gradient, one a bin, is d loss / d v for q = softmax(v).
double skew_kl(const BinPair& bins, double alpha, std::span<double> gradient);
double skew_reverse_kl(const BinPair& bins, double alpha, std::span<double> gradient);

}  // namespace tristill::train
