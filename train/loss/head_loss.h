// The output head and the losses in one pass over chunks of tokens: the logits of a whole batch
// never exist at once (chunked fused-linear loss). Trainer's thread only.
//
//   ce     = -log q_y
//   kd     = how far q is from the teacher: train/loss/distillation.h, a file for each divergence
//   z      = lse^2                                     de Brebisson & Vincent 2016; PaLM, section 5
//   format = ce of tokens of structure: train/loss/format_loss.h
//   loss   = mean over tokens with a label of (ce_weight' ce + kd_weight' kd + z_weight z)
//            + format_weight * mean over labels of structure of ce
//   (ce_weight', kd_weight') = (1, 0) where the teacher is unknown.
//
// Alignment is strict: the logits of position t, the label t + 1 and the teacher's distribution
// over t + 1 given all up to t stand in the same row. alpha CE + (1 - alpha) KL and
// alpha CE + beta KL of other trainers are ce_weight and kd_weight; both are means a token, so the
// weights mean the same for every batch, length and vocabulary.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <span>

#include "train/job/loss_spec.h"
#include "train/loss/teacher_targets.h"
#include "train/student/linear.h"

namespace tristill::train {

struct LossWeights {
  double ce = 0.5;
  double kd = 0.5;
  double z = 1e-4;
  double softcap = 0.0;
  job::DistillationSpec distillation;
  double format = 0.0;
  std::span<const uint8_t> structural;  // [V], of structural_tokens; empty with format 0
};

// Sums over tokens with a label, for reporting.
struct LossSums {
  double ce = 0, kd = 0, z = 0, format = 0, weighted = 0;
  int64_t tokens = 0, taught_tokens = 0, format_tokens = 0;
};

//   hidden [N, D] fp32; labels [N] int64, -100 is no label
// Returns the mean loss (scalar, differentiable in hidden and in the head's latent); sums is set.
torch::Tensor head_loss(const torch::Tensor& hidden, const LinearWeight& head,
                        const torch::Tensor& labels, const TeacherTargets& teacher,
                        const LossWeights& weights, LossSums& sums);

// The same sums without gradients: cross-entropy of labelled tokens.
LossSums evaluate_head(const torch::Tensor& hidden, const LinearWeight& head,
                       const torch::Tensor& labels, const LossWeights& weights);

// One token's loss and its gradient, the specification of the above: logits [V] are replaced by
// d loss / d logits (times factor). label < 0: no loss, zeros. weights.format is added to the
// weight of a structural label as it is.
struct TokenTargets {
  int64_t label = -100;
  const int32_t* ids = nullptr;  // the teacher's K
  const float* logprobs = nullptr;
  size_t count = 0;
  bool sampled = false;  // label was drawn from the teacher
};
LossSums token_loss(float* logits, int64_t vocab, const TokenTargets& targets,
                    const LossWeights& weights, float factor);

}  // namespace tristill::train
