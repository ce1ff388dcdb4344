// Which rank of a run steps which parameter of its student, and alone keeps the optimiser's state
// of it. The same on every rank. Trainer's thread only. Not for where the parts lie in what goes
// between ranks (train/distributed/shard_layout.h).
#pragma once

#include <vector>

#include "train/job/optimizer_spec.h"
#include "train/student/student.h"

namespace tristill::train {

// One a parameter; all are rank 0's where it is alone.
std::vector<int> owners_of(const Student& student, job::OptimizerKind kind, int ranks);

}  // namespace tristill::train
