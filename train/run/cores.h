// How many cores a rank computes on. Trainer's thread only.
#pragma once

#include "train/job/spec.h"

namespace tristill::train {

// Its part of spec.threads, or of all cores there are, where `sharing` ranks share a machine.
void use_cores(const job::TrainSpec& spec, int sharing);

}  // namespace tristill::train
