// What the machine can do at most, measured beside the figures so that these can be read as
// ratios. One thread calls.
#pragma once

#include <cstdint>

namespace tristill::bench {

// int8 multiply-accumulates a second (two operations each), all threads together, by the product
// of the kernels in use on matrices that stay in the second-level cache.
double measure_int8_ops(uint32_t n_threads);

// Bytes a second read from a buffer of 256 MiB, all threads together.
double measure_read_bandwidth(uint32_t n_threads);

}  // namespace tristill::bench
