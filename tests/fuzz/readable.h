// What fuzz targets of weights' files ask of those that are accepted.
#pragma once

#include "base/check.h"
#include "train/convert/float_tensor.h"

namespace tristill {

// Every tensor can be read to its last number.
inline void check_readable(const convert::FloatTensors& tensors) {
  for (const auto& [name, tensor] : tensors) {
    uint64_t elements = 1;
    for (const uint64_t dim : tensor.dims) elements *= dim;
    CHECK(tensor.values().size() == elements);
  }
}

}  // namespace tristill
