// What a label asks of the logits, beside plain cross-entropy: loss.label_smoothing or
// loss.focal_gamma, one of the two. With q the student's distribution, p = q_y and ce = -log p:
//
//   plain      ce
//   smoothed   (1 - e) ce + e mean over j of -log q_j     Szegedy et al. 2016; e = label_smoothing
//   focal      (1 - p)^g ce                               Lin et al. 2017; g = focal_gamma
//
// Their gradients in z_j are of one form, softmax q_j - label [j = y] - uniform:
//   smoothed   softmax = 1, label = 1 - e, uniform = e / V
//   focal      softmax = label = (1 - p)^g + g p (1 - p)^(g - 1) ce
// Evaluation, and the cross-entropy that is reported, stay plain. Pure; any thread.
#pragma once

#include <cstdint>

namespace tristill::train {

struct LabelLoss {
  double smoothing = 0;  // in [0, 1)
  double focal_gamma = 0;
};

// One token's.
struct LabelTerm {
  double loss = 0;
  double softmax = 1, label = 1, uniform = 0;  // of the gradient
};

// mean_ce: the mean of -log q over the vocabulary; looked at only with smoothing.
LabelTerm label_term(const LabelLoss& spec, double ce, double mean_ce, int64_t vocab);

}  // namespace tristill::train
