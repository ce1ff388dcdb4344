// TernaryCensus: how many weights of a model's linear layers are -1, 0 and +1, and how large its
// matrices' scales are. Training that goes wrong shows here: weights that all become zero, rows
// that are dead, scales that run away. Taken once when a model is loaded; any thread.
#pragma once

#include <cstdint>

#include "model/format/model_file.h"
#include "model/threads.h"

namespace tristill {

struct TernaryCensus {
  uint64_t negative = 0, zero = 0, positive = 0;
  uint64_t rows = 0;
  uint64_t dead_rows = 0;  // of zeros only: outputs that are zero for every input
  uint64_t matrices = 0;
  double mean_scale = 0;  // of the matrices' gammas

  uint64_t weights() const { return negative + zero + positive; }
};

// Of the linear layers in the blocks; nothing counted when they are not ternary.
TernaryCensus take_census(const ModelTensors& tensors, ThreadTeam& team);

}  // namespace tristill
