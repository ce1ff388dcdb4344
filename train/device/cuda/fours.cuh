// Numbers by four, as a thread reads and writes them: 16 bytes of fp32 at once.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

namespace tristill::train::fused {

constexpr uint32_t kFour = 4;

template <class T>
struct alignas(kFour * sizeof(T)) Four {
  T of[kFour];
};

// x[i .. i + 3] of n; i is a multiple of four. kWhole: x is aligned, and n a multiple of four. Else
// one by one, and zeros from n on.
template <bool kWhole, class T>
__device__ inline Four<T> load(const T* x, size_t i, size_t n) {
  if constexpr (kWhole) {
    return *reinterpret_cast<const Four<T>*>(x + i);
  } else {
    Four<T> four = {};
#pragma unroll
    for (uint32_t k = 0; k < kFour; ++k) {
      if (i + k < n) four.of[k] = x[i + k];
    }
    return four;
  }
}

template <bool kWhole, class T>
__device__ inline void store(T* y, size_t i, size_t n, const Four<T>& four) {
  if constexpr (kWhole) {
    *reinterpret_cast<Four<T>*>(y + i) = four;
  } else {
#pragma unroll
    for (uint32_t k = 0; k < kFour; ++k) {
      if (i + k < n) y[i + k] = four.of[k];
    }
  }
}

}  // namespace tristill::train::fused
