// The output head and the losses in one pass over chunks of tokens: the logits of a whole batch
// never exist at once (chunked fused-linear loss). Trainer's thread only.
//
//   loss = the mean over tokens with a label of train/loss/token_loss.h, its format loss apart:
//          that is the mean over the labels of structure that are not the student's own words, of
//          whatever number they are
//
// Alignment is strict: the logits of position t, the label t + 1 and the teacher's distribution
// over t + 1 given all up to t stand in the same row. alpha CE + (1 - alpha) KL and
// alpha CE + beta KL of other trainers are ce_weight and kd_weight; both are means a token, so the
// weights mean the same for every batch, length and vocabulary.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <optional>
#include <span>

#include "train/loss/dense_targets.h"
#include "train/loss/teacher_targets.h"
#include "train/loss/token_loss.h"
#include "train/student/linear.h"

namespace tristill::train {

// What the means are over.
struct LabelCounts {
  int64_t labelled = 0;
  int64_t structural = 0;  // not the student's own words; 0 without a format loss
  int64_t related = 0;     // RelatedTokens::count, of train/loss/attention_relation.h
};
// labels of the CPU; own: DenseTargets::own. related stays 0.
LabelCounts count_labels(const torch::Tensor& labels, const LossWeights& weights,
                         std::span<const uint8_t> own = {});

//   hidden [N, D] fp32; labels [N] int64, -100 is no label
// Returns the mean loss (scalar, differentiable in hidden and in the head's latent, if that is
// trained); sums is set.
// Given the counts of the whole batch of which this is a part, it returns the part's share: the
// losses of all parts, and their gradients, add up to those of the whole.
torch::Tensor head_loss(const torch::Tensor& hidden, const LinearWeight& head,
                        const torch::Tensor& labels, const TeacherTargets& teacher,
                        const LossWeights& weights, LossSums& sums,
                        const std::optional<LabelCounts>& whole = {},
                        const DenseTargets& dense = {});

// The same sums without gradients: cross-entropy of labelled tokens.
LossSums evaluate_head(const torch::Tensor& hidden, const LinearWeight& head,
                       const torch::Tensor& labels, const LossWeights& weights);

}  // namespace tristill::train
