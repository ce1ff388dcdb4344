#include "train/device/place.h"

#include <torch/cuda.h>

#include <string>
#include <string_view>

namespace tristill::train {

int cuda_devices() {
  return torch::cuda::is_available() ? static_cast<int>(torch::cuda::device_count()) : 0;
}

Result<torch::Device> choose_device(job::TrainDevice wanted, int local_rank, int devices) {
  const bool optional = wanted == job::TrainDevice::automatic;
  if (wanted == job::TrainDevice::cpu || (optional && devices == 0)) {
    return torch::Device(torch::kCPU);
  }
  if (devices == 0) {
    return Error{ErrorCode::invalid_argument,
                 "device is cuda and this machine has no CUDA device that libtorch can use; "
                 "set device to cpu or auto, or install a libtorch built for CUDA",
                 "device"};
  }
  if (local_rank >= devices) {
    return Error{ErrorCode::invalid_argument,
                 "rank " + std::to_string(local_rank) +
                     " of this machine has no CUDA device: " + std::to_string(devices) +
                     " are there; accepted is one rank a device, or "
                     "device cpu",
                 "ranks"};
  }
  return torch::Device(torch::kCUDA, static_cast<c10::DeviceIndex>(local_rank));
}

std::optional<Error> out_of_memory(const std::exception& failure) {
  const std::string_view text = failure.what();
  // Not every allocator of libtorch throws the type that is meant for it.
  const bool full = dynamic_cast<const c10::OutOfMemoryError*>(&failure) != nullptr ||
                    text.find("out of memory") != std::string_view::npos ||
                    text.find("CUBLAS_STATUS_ALLOC_FAILED") != std::string_view::npos ||
                    text.find("can't allocate memory") != std::string_view::npos;
  if (!full) return std::nullopt;
  return Error{ErrorCode::resource_exhausted,
               "out of memory: " + std::string(text.substr(0, text.find('\n'))) +
                   "; lower batch_tokens, raise micro_batches, turn on gradient_checkpointing, or "
                   "take a smaller model",
               "batch_tokens"};
}

}  // namespace tristill::train
