// The student that a job's settings describe, with the weights that its seed draws: what a run
// trains and a dry run tries. Trainer's thread only.
#pragma once

#include <torch/types.h>

#include "train/job/spec.h"
#include "train/student/student.h"

namespace tristill::train {

Student job_student(const job::TrainSpec& spec, torch::Device device);

}  // namespace tristill::train
