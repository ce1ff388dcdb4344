// On-policy distillation: the student goes on with its own words, and the teachers judge them, so
// that it learns where it really goes.           Agarwal et al. 2024, "GKD" (arXiv 2306.13649)
//
// Of a share of a batch's rows the first half of the first document stays, and the student, as it
// would be served, writes the rest: drawn at a temperature, to the end of the row or to <eos>. Its
// own words are no labels of cross-entropy (DenseTargets::own): their loss is the divergence from
// the teachers alone. Which divergence is the job's; reverse KL is the paper's choice for this.
//
// The engine's kernels write, so the same weights, seed and stream give the same words on every
// machine, at any number of threads and ranks. Trainer's thread only.
#pragma once

#include <cstdint>

#include "train/job/teaching_spec.h"
#include "train/student/student.h"

namespace tristill::train {

struct OwnWords {
  uint64_t seed = 0;
  uint64_t stream = 0;  // another for each batch
  int64_t eos = 0;
};

// Rows with a teacher's list (traces) are left as they are. Sets batch.dense.own. Throws
// std::bad_alloc.
void write_own_words(Batch& batch, const Student& student, const job::TeachingSpec& teaching,
                     const OwnWords& words);

}  // namespace tristill::train
