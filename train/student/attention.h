// Causal grouped-query attention within segments, blocked over queries so that no [T, T] matrix
// exists; backward recomputes the probabilities (Dao et al. 2022). fp32, trainer's thread only.
#pragma once

#include <torch/types.h>

namespace tristill::train {

//   q [B*G, T*R, hd]  row t*R + r        k, v [B*G, T, hd]
//   segment_start [B, T] int32: token t sees keys segment_start[t] .. t
//   softcap      scores become cap * tanh(score / cap); 0: they do not
//   compute      type of the products on another device than the CPU, where they are fp32
//   returns o, shaped like q
torch::Tensor segment_attention(const torch::Tensor& q, const torch::Tensor& k,
                                const torch::Tensor& v, const torch::Tensor& segment_start,
                                double softcap = 0, at::ScalarType compute = at::kFloat);

}  // namespace tristill::train
