// A batch of random tokens and labels, for tests: one segment a row, every token with a label.
#pragma once

#include <torch/types.h>

#include "train/student/student.h"

namespace tristill::train {

inline Batch random_batch(int64_t vocab, int64_t rows, int64_t columns, uint64_t seed) {
  at::manual_seed(seed);
  return {at::randint(0, vocab, {rows, columns}, at::kLong),
          at::randint(0, vocab, {rows, columns}, at::kLong),
          at::zeros({rows, columns}, at::kInt),
          {},
          0};
}

}  // namespace tristill::train
