// What a job's precision is to libtorch: the type of the products of the backward pass, and whether
// the device has such products. Trainer's thread only.
//
// fp16 is refused on the CPU. at::mm of kHalf there is an error in libtorch 1.13 ("addmm_impl_cpu_"
// not implemented for 'Half'); in 2.13 it works, at less than 1/300 of the speed of bf16 where the
// processor has no such instructions (512 x 512 x 512 on two cores with AVX-512 BF16: 550 ms, not
// 1 ms). bf16 has the range of fp32, so there is nothing that fp16 would be good for there.
#pragma once

#include <torch/types.h>

#include "base/result.h"
#include "train/job/spec.h"

namespace tristill::train {

at::ScalarType compute_type(job::Precision precision);

// Before the first product: on a GPU fp16 products add up in fp32, which cuBLAS does not do unless
// told. Errors: invalid_argument, param "precision", where the device has none.
Result<void> use_precision(job::Precision precision, const at::Device& device);

}  // namespace tristill::train
