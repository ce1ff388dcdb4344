#include "train/device/memory.h"

#include <torch/cuda.h>

#include <torch/version.h>

#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 9)
#include <c10/core/CachingDeviceAllocator.h>
#endif

namespace tristill::train::device {

#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 9)

void restart_peak(torch::Device device) {
  if (device.is_cpu()) return;
  at::empty({1}, at::device(device));  // there is no allocator before the first tensor
  c10::getDeviceAllocator(device.type())->resetPeakStats(device.index());
}

uint64_t peak_bytes(torch::Device device) {
  if (device.is_cpu()) return 0;
  const auto stats = c10::getDeviceAllocator(device.type())->getDeviceStats(device.index());
  return static_cast<uint64_t>(stats.allocated_bytes[0].peak);  // 0: of all pools together
}

#else

void restart_peak(torch::Device /*device*/) {}
uint64_t peak_bytes(torch::Device /*device*/) { return 0; }

#endif

void finish_work(torch::Device device) {
  if (device.is_cuda()) torch::cuda::synchronize(device.index());
}

}  // namespace tristill::train::device
