// Whether a tensor's operation is one of the kernels' (kernels.h), and its launch there: on the
// current stream of the tensor's device, which is the current device meanwhile. Where it is not,
// ATen computes: builds without CUDA, the CPU's tensors, devices older than what is compiled for.
//
//   if (const KernelLaunch run(x); run) return by_kernel(run, x);
//
// Threads of the trainer and of autograd.
#pragma once

#include <c10/core/DeviceGuard.h>
#include <torch/types.h>

#include "train/device/kernels.h"

namespace tristill::train::device {

class KernelLaunch {
 public:
  explicit KernelLaunch(const torch::Tensor& x);

  explicit operator bool() const { return kernels_ != nullptr; }

  template <class... Parameters, class... Arguments>
  void operator()(void (*Kernels::*kernel)(void*, Parameters...), Arguments... arguments) const {
    (kernels_->*kernel)(stream_, static_cast<Parameters>(arguments)...);
  }

 private:
  c10::OptionalDeviceGuard device_;
  const Kernels* kernels_ = nullptr;
  void* stream_ = nullptr;
};

// Whether the kernels of rows hold rows of x, which lie in memory one after the other in fp32.
bool fits_kernels(const torch::Tensor& x);

// For tests and measurements: while it lives, these kernels compute, whatever the tensor's device;
// null: ATen alone.
class ChosenKernels {
 public:
  explicit ChosenKernels(const Kernels* kernels, void* stream = nullptr);
  ~ChosenKernels();
  ChosenKernels(const ChosenKernels&) = delete;
  ChosenKernels& operator=(const ChosenKernels&) = delete;

 private:
  friend class KernelLaunch;
  const Kernels* kernels_;
  void* stream_;
};

}  // namespace tristill::train::device
