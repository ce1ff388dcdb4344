// The output head and the losses in one pass over chunks of tokens: the logits of a whole batch
// never exist at once (chunked fused-linear loss). Trainer's thread only.
//
//   ce  = -log q_y
//   kd  = sum_K t_i log(t_i / q_i) + o log(o / (1 - sum_K q_i)),  o = 1 - sum_K t_i
//         forward KL on Top-K + Other at temperature 1; gradient q_j - t_j on K,
//         q_j (1 - o / (1 - sum_K q)) elsewhere
//   z   = lse^2                                        de Brebisson & Vincent 2016; PaLM, section 5
//   per token: ce_weight' * ce + kd_weight' * kd + z_weight * z, averaged over tokens with a label;
//   (ce_weight', kd_weight') = (1, 0) where the teacher is unknown.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <vector>

#include "train/student/linear.h"

namespace tristill::train {

// Teacher distributions for some tokens of a batch. Row i belongs to flat token rows[i].
struct TeacherTargets {
  std::vector<int64_t> rows;  // ascending, distinct
  std::vector<size_t> offsets;  // size rows + 1, into ids and logprobs
  std::vector<int32_t> ids;  // distinct in a row
  std::vector<float> logprobs;  // natural log, at temperature 1
};

struct LossWeights {
  double ce = 0.5;
  double kd = 0.5;
  double z = 1e-4;
  double softcap = 0.0;
};

// Sums over tokens with a label, for reporting.
struct LossSums {
  double ce = 0, kd = 0, z = 0, weighted = 0;
  int64_t tokens = 0, taught_tokens = 0;
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
// d loss / d logits (times factor). label < 0: no loss, zeros.
struct TokenTargets {
  int64_t label = -100;
  const int32_t* ids = nullptr;  // the teacher's K
  const float* logprobs = nullptr;
  size_t count = 0;
};
LossSums token_loss(float* logits, int64_t vocab, const TokenTargets& targets,
                    const LossWeights& weights, float factor);

}  // namespace tristill::train
