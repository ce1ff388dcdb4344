// Attention-relation distillation: the student's queries, keys and values of one late layer relate
// tokens to each other as the teacher's do. Only relations are compared, so widths and numbers of
// heads may differ.        Wang et al. 2021, "MiniLMv2", section 3.1; BitDistill (2510.13998)
//
//   A in {Q, K, V}, split into n relation heads of d_r = width / n numbers a token
//   R = softmax(A A^T / sqrt(d_r)) over the tokens of the same segment up to the row's own
//   loss = mean over A, heads and tokens of text of KL(R_teacher || R_student)
//   S = A A^T / sqrt(d_r):  dS = (R_student - R_teacher) / count,  dA = (dS + dS^T) A / sqrt(d_r)
//
// Padding is not compared and not counted. One sequence and head at a time: [T, T] scores of a
// batch never exist at once. On the device of the states. Trainer's thread.
#pragma once

#include <torch/types.h>

#include <array>
#include <cstdint>
#include <vector>

namespace tristill::train {

// Of one layer, [N, width] fp32 each, as its linear layers give them: before norms and rotation.
using AttentionStates = std::array<torch::Tensor, 3>;

// What is compared of a batch's rows.
struct RelatedTokens {
  torch::Tensor segment_start;   // [B, T] int32
  std::vector<int64_t> lengths;  // [B], of the text that each row starts with; behind it is padding
  int64_t count = 0;  // what the mean is over: tokens of text
};
// A row's text ends with its last segment that has a label. labels [B, T] int64, segment_start:
// of the CPU. count is that of these rows.
RelatedTokens related_tokens(const torch::Tensor& labels, const torch::Tensor& segment_start);

// Scalar; differentiable in the student's states. n_heads divides every width of both sides
// (CHECKed). With the count of the whole batch of which the rows are a part, it is the part's
// share: the losses of all parts, and their gradients, add up to those of the whole.
torch::Tensor attention_relation_loss(const AttentionStates& student,
                                      const AttentionStates& teacher, const RelatedTokens& tokens,
                                      int64_t n_heads);

}  // namespace tristill::train
