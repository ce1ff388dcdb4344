// Micro-batches: the rows of one batch in equal parts, whose activations are in memory one part at
// a time. Pure; trainer's thread.
#pragma once

#include "train/student/student.h"

namespace tristill::train {

// Rows [begin, end) of a batch, as views. bytes, which only evaluation asks for, is not divided: 0.
// Nor are teachers in this process, who are asked about each part.
Batch rows_of(const Batch& batch, int64_t begin, int64_t end);

}  // namespace tristill::train
