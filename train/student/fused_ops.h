// Element-wise parts of a block, each one pass forward and one pass backward over memory.
// Trainer's thread only; fp32. The forward of rms_norm and of the GLUs is the serving kernel.
#pragma once

#include <torch/types.h>

#include "model/config.h"

namespace tristill::train {

// y = x * gain / sqrt(mean(x^2) + eps)      x [N, D], gain [D]       Zhang & Sennrich 2019, eq. 4
torch::Tensor rms_norm(const torch::Tensor& x, const torch::Tensor& gain, double eps);

// act(gate) * up                            gate, up [N, F]
torch::Tensor glu(const torch::Tensor& gate, const torch::Tensor& up, Activation activation);

// Cosines and sines of RoPE (Su et al. 2021, eq. 15), half-split form: [T, head_dim / 2] each.
struct RopeTable {
  torch::Tensor cos, sin;
};
RopeTable rope_table(int64_t positions, int64_t head_dim, double theta);

// Optional RMSNorm of each head, then RoPE, then heads gathered by their KV head:
//   x [B*T, H*hd] -> [B*G, T*R, hd] with H = G*R, row t*R + r of group g is head g*R + r.
// gain [hd], or undefined for no norm.
torch::Tensor norm_rope_heads(const torch::Tensor& x, const torch::Tensor& gain, double eps,
                              const RopeTable& rope, int64_t batch, int64_t groups);

}  // namespace tristill::train
