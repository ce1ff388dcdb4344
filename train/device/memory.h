// How much memory of a device tensors held at most. What counts on the CPU: run/memory_meter.h.
// Trainer's thread only.
#pragma once

#include <torch/types.h>

#include <cstdint>

namespace tristill::train::device {

// From here on. Nothing for the CPU, or a libtorch before 2.9, which does not tell.
void restart_peak(torch::Device device);
// Bytes since then; 0 where it is not known.
uint64_t peak_bytes(torch::Device device);
// Waits until the device has done all that it was given: before a clock is read.
void finish_work(torch::Device device);

}  // namespace tristill::train::device
