// What the GPU can do at most, measured as limits.h does for the CPU. Throw std::runtime_error.
#pragma once

#include <cstddef>

namespace tristill::bench {

// int8 operations a second of the tensor cores, from registers.
double measure_cuda_int8_ops();

// Bytes a second read from device memory, from a buffer of that size.
double measure_cuda_read_bandwidth(size_t bytes);

}  // namespace tristill::bench
