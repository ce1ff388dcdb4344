// Bits per byte of a student on held-out text: -sum log2 p / bytes. Rows are scored in chunks of
// T tokens without overlap (stride T), each token once.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "train/data/packing.h"
#include "train/student/student.h"

namespace tristill::train {

struct Evaluation {
  double bits_per_byte = 0;
  double loss = 0;  // nats a token
  int64_t tokens = 0;
  int64_t bytes = 0;
};

// done is called after each batch.
Evaluation evaluate(
    const Student& student, const std::vector<Batch>& batches,
    const std::function<void()>& done = [] {});

}  // namespace tristill::train
