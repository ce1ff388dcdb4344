// Distillation of one token: what the teacher listed against the logits. Pure; any thread.
//
//   collapse  t_i = the teacher's K probabilities, o = 1 - sum t; the student's masses on the same
//             K tokens and, for the bin Other, on all the rest of its vocabulary
//   temper    p = softmax(log [t, o] / tau), q likewise: K + 1 bins on both sides. Collapsing
//             first makes both the same random variable; tempering the student's whole vocabulary
//             against the teacher's K + 1 atoms would not have its minimum at the teacher.
//   loss      tau^2 * divergence(p, q);  gradient on the K logits tau * g_i, and on the others
//             tau * g_other in proportion to their probabilities: the tail's total is matched, its
//             shape is left to cross-entropy
//
// loss.tail says what stands for the rest:
//   other     the bin Other
//   ignore    no bin: both sides are renormalised over the K. Biased: the optimum has no tail
//   sampled   other, with train/loss/sampled_tail.h
//   counts    the list holds shares c_i / N of N draws from the teacher (Anshumann et al. 2025,
//             "Sparse Logit Sampling"): o = 0 exactly, and at tau 1 E[q - c / N] = q - teacher
// A list of the whole vocabulary (dense distillation) leaves nothing, and has no bin for it.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "train/job/loss_spec.h"
#include "train/loss/bin_pair.h"

namespace tristill::train {

// z are logits, less the same number everywhere.
struct StudentMasses {
  std::vector<double> listed;  // z_i of the teacher's tokens, in the teacher's order
  std::optional<double> log_tail;  // log sum exp(z_j) of all others; absent when there are none
};

struct DistilledToken {
  double loss = 0;
  std::vector<double> on_list;  // d loss / d z_i
  double off_list = 0;  // d loss / d z_j = off_list * exp(z_j - log_tail)
};

// The job's divergence of tempered bins; gradient is set: in the student's tempered logits.
double diverge(const job::DistillationSpec& spec, const BinPair& bins, std::span<double> gradient);

// logprobs: the teacher's, natural, at temperature 1, distinct tokens, not empty.
DistilledToken distil(const job::DistillationSpec& spec, std::span<const float> logprobs,
                      const StudentMasses& student);

}  // namespace tristill::train
