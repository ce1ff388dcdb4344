// The forward pass on an NVIDIA GPU. Computes the same bits as the CPU: integer products are exact
// anyway, and every floating-point sum is taken in the order of kernels/kernels.h.
#pragma once

#include <memory>

#include "model/backend.h"

namespace tristill {

// Whether a GPU and its driver are there. Errors: unavailable with the driver's reason.
Result<void> check_cuda();

// See make_backend.
std::unique_ptr<Backend> make_cuda_backend(std::shared_ptr<const Model> model, KvCache& cache,
                                           uint32_t max_context);

}  // namespace tristill
