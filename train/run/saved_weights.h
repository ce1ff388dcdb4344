// A student's weights in a checkpoint: written, read back, and taken by another job as its first.
//   weights.NAME        every tensor of the model: of an adapted matrix what it is with its factors
//   lora.base.NAME      an adapted matrix as it was before
//   lora.NAME           its factors, as blk.0.attn_q.lora_a
// So whoever reads weights.* has the model, however it was trained, and needs no rank and no scale.
// The base is kept beside it because W - s B A has other bits: from the factors and the base a run
// goes on exactly. The price is that an adapted matrix is there twice. Trainer's thread only.
#pragma once

#include "base/result.h"
#include "train/checkpoint.h"
#include "train/student/student.h"

namespace tristill::train {

void save_weights(const Student& student, Checkpoint& checkpoint);

// Of a checkpoint of the same job. Errors, here and below: corrupt, with the tensor that is missing
// or has another shape; the student's weights are then neither. refresh() afterwards.
Result<void> load_weights(Student& student, const Checkpoint& checkpoint);

// The model of another job's checkpoint; an adapted student adapts it from the beginning. Learned
// scales that it lacks start from its latents.
Result<void> load_first_weights(Student& student, const Checkpoint& checkpoint);

}  // namespace tristill::train
