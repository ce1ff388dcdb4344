// Teachers in this process as a loss sees them: what they thought of each token of a batch, from
// which their distributions over the whole vocabulary are made chunk by chunk. On the device of
// their hidden states. Trainer's thread only.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "train/student/linear.h"

namespace tristill::train {

struct DenseTeacher {
  torch::Tensor hidden;  // [N, D of the teacher] fp32
  const LinearWeight* head = nullptr;
  double softcap = 0;
  double weight = 1;  // relative to the others'
};

// Teachers of all tokens but those with a list of their own; the mixture of their probabilities.
struct DenseTargets {
  std::vector<DenseTeacher> teachers;
  std::vector<uint8_t> own;  // [N] whether the label is the student's own word; empty: none
};

// Logits [tokens, V] of the tokens [begin, end), by the serving head or a full-precision product.
torch::Tensor chunk_logits(const torch::Tensor& hidden, const LinearWeight& head, int64_t begin,
                           int64_t end);

// Log-probabilities [tokens, V] of the teachers' mixture there; undefined without teachers.
torch::Tensor teacher_logprobs(const std::vector<DenseTeacher>& teachers, int64_t begin,
                               int64_t end);

}  // namespace tristill::train
