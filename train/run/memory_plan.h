// What a training step needs of memory, predicted by walking through it without doing it: every
// tensor that train/student, train/loss and train/optim make is entered in a ledger where it is
// made and struck out where it goes. Pure, free of torch; any thread. A change of what a layer
// saves for its backward pass belongs here too: a test holds the plan against the allocator.
//
// Not counted: the runtime's own memory (libtorch's code, about 0.2 GB), the data, and what the
// products of matrices use inside.
#pragma once

#include <cstdint>
#include <string>

#include "train/job/spec.h"

namespace tristill::train {

// Bytes.
struct MemoryPlan {
  uint64_t latents = 0;      // fp32 parameters, trained or kept
  uint64_t optimizer = 0;    // momenta
  uint64_t derived = 0;      // integer weights, scales, weights for the backward products
  uint64_t gradients = 0;    // of those that are trained, at the end of the backward pass
  uint64_t activations = 0;  // saved for it, as they are at its beginning
  uint64_t peak = 0;         // of one step, all of the above included
  std::string peak_at;       // "loss", "backward", "optimizer", "quantisation"
};

MemoryPlan plan_memory(const job::TrainSpec& spec);

}  // namespace tristill::train
