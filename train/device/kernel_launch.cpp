#include "train/device/kernel_launch.h"

#include <atomic>

#include "base/check.h"

#if defined(TRISTILL_TRAIN_CUDA)
#include <c10/cuda/CUDAStream.h>
#endif

namespace tristill::train::device {
namespace {

std::atomic<const ChosenKernels*> chosen{nullptr};  // read by autograd's threads, too

}  // namespace

KernelLaunch::KernelLaunch(const torch::Tensor& x) {
  if (const ChosenKernels* given = chosen) {
    kernels_ = given->kernels_;
    stream_ = given->stream_;
    return;
  }
#if defined(TRISTILL_TRAIN_CUDA)
  if (!x.is_cuda()) return;
  kernels_ = cuda_kernels(x.device().index());
  if (kernels_ == nullptr) return;
  device_.reset_device(x.device());
  stream_ = c10::cuda::getCurrentCUDAStream(x.device().index()).stream();
#else
  static_cast<void>(x);
#endif
}

bool fits_kernels(const torch::Tensor& x) {
  return x.scalar_type() == at::kFloat && x.is_contiguous() && x.size(-1) > 0 &&
         x.size(-1) <= static_cast<int64_t>(kMostKernelColumns);
}

ChosenKernels::ChosenKernels(const Kernels* kernels, void* stream)
    : kernels_(kernels), stream_(stream) {
  CHECK(chosen.exchange(this) == nullptr);
}

ChosenKernels::~ChosenKernels() { chosen = nullptr; }

}  // namespace tristill::train::device
