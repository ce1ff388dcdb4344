// What the machine can do at most, measured beside the figures so that these can be read as
// ratios. One thread calls.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tristill::bench {

// int8 operations (a multiply-accumulate is two) a second, all threads together, by the linear
// layer of the kernels in use on ternary weights and a whole tile of tokens in the nearest cache.
double measure_int8_ops(uint32_t n_threads);

// Bytes a second read from a buffer of that size, in huge pages as the weights are, all threads
// together, over and over.
double measure_read_bandwidth(uint32_t n_threads, size_t bytes);

}  // namespace tristill::bench
