// The losses of one token and their gradient in its logits, fused. Pure; any thread.
//
//   ce     = -log q_y
//   label  = ce, smoothed or focal if asked for: train/loss/label_loss.h
//   kd     = how far q is from the teacher: train/loss/distillation.h, a file for each divergence
//   z      = lse^2                                     de Brebisson & Vincent 2016; PaLM, section 5
//   format = ce where y is a token of structure that the student did not write itself, else 0:
//            train/loss/format_loss.h
//   loss   = ce_weight' label + kd_weight' kd + z_weight z + format_weight format
//   (ce_weight', kd_weight') = (1, 0) where the teacher is unknown, (0, kd_weight) where the
//   student wrote the label itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "train/job/loss_spec.h"
#include "train/loss/label_loss.h"

namespace tristill::train {

constexpr int64_t kNoLabel = -100;

// The settings of a job's loss, and the model's soft-cap on its logits (0: none).
struct LossWeights {
  double ce = 0.5;
  double kd = 0.5;
  double z = 1e-4;
  LabelLoss label;
  double softcap = 0.0;
  job::DistillationSpec distillation;
  double format = 0.0;
  std::span<const uint8_t> structural;  // [V], of structural_tokens; empty with format 0
  double relation = 0.0;  // of attention relations: student/student.h
  int64_t relation_heads = 1;
  double scale = 1.0;  // of the loss and its gradients, not of the sums: train/run/loss_scale.h
};

// Sums over tokens with a label, for reporting.
struct LossSums {
  double ce = 0, kd = 0, z = 0, format = 0, weighted = 0;
  int64_t tokens = 0, taught_tokens = 0, format_tokens = 0;
  double relation = 0;  // a mean, not a sum

  LossSums& operator+=(const LossSums& part);
};

// What one token has to learn.
struct TokenTargets {
  int64_t label = kNoLabel;
  const int32_t* ids = nullptr;  // the teacher's K
  const float* logprobs = nullptr;
  size_t count = 0;
  bool sampled = false;  // label was drawn from the teacher
  const float* dense = nullptr;  // [V] log-probabilities of a teacher who says all; no list then
  bool own = false;  // label is the student's own word: judged by the teacher, not learned
};

// logits [V] are replaced by d loss / d logits (times factor). label < 0: no loss, zeros.
LossSums token_loss(float* logits, int64_t vocab, const TokenTargets& targets,
                    const LossWeights& weights, float factor);

// Whether the format loss counts a label (not negative), unless the student wrote it itself.
bool is_structural(int64_t label, const LossWeights& weights);

}  // namespace tristill::train
