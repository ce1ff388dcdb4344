// Where a run computes: the device that a job asks for, and what is said when its memory is full.
// Any thread.
#pragma once

#include <torch/types.h>

#include <exception>
#include <optional>

#include "base/result.h"
#include "train/job/spec.h"

namespace tristill::train {

// CUDA devices that libtorch can use; 0 where it was built without.
int cuda_devices();

// Among so many CUDA devices, the one of this rank of its machine (RankPlace::local_rank), or the
// CPU. Errors: invalid_argument naming device, where cuda is asked for and there is none, or ranks,
// where there are fewer devices than ranks.
Result<torch::Device> choose_device(job::TrainDevice wanted, int local_rank, int devices);

// The error of a job that this exception ended, if it says that memory, of a device or of the
// machine, is full. The process ends by it, which gives the device's memory back.
std::optional<Error> out_of_memory(const std::exception& failure);

}  // namespace tristill::train
