// What a training step needs of memory, predicted by walking through it without doing it: every
// tensor that train/student, train/loss and train/optim make is entered in a ledger where it is
// made and struck out where it goes. Pure, free of torch; any thread. A change of what a layer
// saves for its backward pass belongs here too: a test holds the plan against the allocator.
//
// The walk is the CPU's. Of a device it knows the larger chunks of logits, and that what goes
// between ranks passes through the CPU's memory.
//
// Not counted: the runtime's own memory (libtorch's code, about 0.2 GB), the data, what the
// products of matrices use inside, what rank 0 gathers for a checkpoint; on a device also what Muon
// needs to orthogonalise several matrices together, and what fused kernels save.
#pragma once

#include <cstdint>
#include <string>

#include "train/job/spec.h"

namespace tristill::train {

// Bytes of one process: of the rank that keeps most, where there are several.
struct MemoryPlan {
  uint64_t latents = 0;  // fp32 parameters, trained or kept
  uint64_t optimizer = 0;  // momenta of what this rank owns
  uint64_t derived = 0;  // integer weights, scales, weights for the backward products
  uint64_t gradients = 0;  // of those that are trained, at the end of the backward pass
  uint64_t activations = 0;  // saved for it, as they are at its beginning
  uint64_t exchange = 0;  // of the CPU's memory, for what goes between ranks; 0: alone
  uint64_t peak = 0;  // of one step, all of the above included that lies there
  std::string peak_at;  // "loss", "backward", "exchange", "optimizer", "quantisation"
  int rank = 0;  // whose plan this is
};

struct PlanOptions {
  bool on_cpu = true;  // else the memory of a device
  bool exchanges = true;  // false: of several ranks one alone, as a dry run tries it
};
MemoryPlan plan_memory(const job::TrainSpec& spec, const PlanOptions& options = {});

}  // namespace tristill::train
