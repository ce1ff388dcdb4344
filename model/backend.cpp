#include "model/backend.h"

#include "base/check.h"
#include "model/transformer.h"
#if defined(TRISTILL_CUDA)
#include "model/cuda/cuda_backend.h"
#endif

namespace tristill {

Result<void> check_device(Device device) {
  if (device == Device::cpu) return {};
#if defined(TRISTILL_CUDA)
  return check_cuda();
#else
  return Error{ErrorCode::unavailable,
               "this build has no CUDA backend; build the cuda preset, or use the device cpu",
               "device"};
#endif
}

std::unique_ptr<Backend> make_backend(Device device, std::shared_ptr<const Model> model,
                                      KvCache& cache, ThreadTeam& team, uint32_t max_context) {
#if defined(TRISTILL_CUDA)
  if (device == Device::cuda) return make_cuda_backend(std::move(model), cache, max_context);
#endif
  CHECK(device == Device::cpu);
  return std::make_unique<Transformer>(std::move(model), cache, team, max_context);
}

}  // namespace tristill
