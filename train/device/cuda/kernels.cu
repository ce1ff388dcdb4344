// Launches of the kernels beside it. Where all addresses are aligned and rows are whole fours,
// numbers go through memory by four; else by one, with the same result.
#include "train/device/kernels.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <type_traits>

#include "base/check.h"
#include "model/cuda/runtime.h"
#include "train/device/cuda/activations.cuh"
#include "train/device/cuda/rows.cuh"
#include "train/device/cuda/weights.cuh"

namespace tristill::train {
namespace fused {
namespace {

using tristill::cuda::launch;

constexpr int kLeastMajor = 8;  // the least compute capability of cmake/cuda.cmake
constexpr size_t kFlatBlocks = 2048;  // of kernels that go on to the next numbers

cudaStream_t stream_of(void* stream) { return static_cast<cudaStream_t>(stream); }

// f(std::true_type) where rows of n can be read by four at these addresses.
template <class F>
void by_fours(size_t n, std::initializer_list<const void*> addresses, F&& f) {
  const bool whole = n % kFour == 0 && std::ranges::all_of(addresses, [](const void* address) {
                       return reinterpret_cast<uintptr_t>(address) % (kFour * sizeof(float)) == 0;
                     });
  if (whole) f(std::true_type{});
  else f(std::false_type{});
}

dim3 blocks_of(size_t n) { return dim3(static_cast<uint32_t>(n)); }

size_t blocks_for(size_t n, uint32_t threads) {
  const size_t of_block = size_t{threads} * kFour;
  return (n + of_block - 1) / of_block;
}

void check_row(size_t cols) { CHECK(cols > 0 && cols <= device::kMostKernelColumns); }

void quantize_tokens(void* stream, const float* x, size_t rows, size_t cols, float limit, int8_t* q,
                     float* scale) {
  check_row(cols);
  if (rows == 0) return;
  by_fours(cols, {x, q}, [&](auto whole) {
    launch(stream_of(stream), quantize_rows<false, whole>, blocks_of(rows), row_threads(cols), x,
           nullptr, 0.0F, cols, limit, q, scale);
  });
}

void rms_norm(void* stream, const float* x, const float* gain, float eps, size_t rows, size_t cols,
              float* y) {
  check_row(cols);
  if (rows == 0) return;
  by_fours(cols, {x, gain, y}, [&](auto whole) {
    launch(stream_of(stream), norm_rows<whole>, blocks_of(rows), row_threads(cols), x, gain, eps,
           cols, y);
  });
}

void norm_quantize(void* stream, const float* x, const float* gain, float eps, size_t rows,
                   size_t cols, float limit, int8_t* q, float* scale) {
  check_row(cols);
  if (rows == 0) return;
  by_fours(cols, {x, gain, q}, [&](auto whole) {
    launch(stream_of(stream), quantize_rows<true, whole>, blocks_of(rows), row_threads(cols), x,
           gain, eps, cols, limit, q, scale);
  });
}

void rms_norm_backward(void* stream, const float* x, const float* gain, float eps, const float* dy,
                       size_t rows, size_t cols, float* dx, float* dgain) {
  check_row(cols);
  if (rows == 0) return;
  by_fours(cols, {x, gain, dy, dx, dgain}, [&](auto whole) {
    launch(stream_of(stream), norm_rows_backward<whole>, blocks_of(device::norm_strips(rows)),
           row_threads(cols), x, gain, eps, dy, rows, cols, dx, dgain);
  });
}

void ternarize(void* stream, const float* w, size_t n, double* sums, int8_t* t, float* gamma) {
  CHECK(n > 0);
  const size_t wanted = blocks_for(n, kFlatThreads);
  const size_t n_sums = std::min(wanted, device::kMagnitudeSums);
  const dim3 blocks = blocks_of(std::min(wanted, kFlatBlocks));
  by_fours(n, {w, t}, [&](auto whole) {
    launch(stream_of(stream), sum_magnitudes<whole>, blocks_of(n_sums), kFlatThreads, w, n, sums);
    launch(stream_of(stream), ternarize_weights<whole>, blocks, kFlatThreads, w, n, sums, n_sums, t,
           gamma);
  });
}

template <class To>
void dequantize_to(cudaStream_t stream, const int8_t* q, const float* scale, bool scaled_by_row,
                   size_t rows, size_t cols, void* to, int32_t* row_sum) {
  by_fours(cols, {q, to}, [&](auto whole) {
    launch(stream, dequantize_rows<To, whole>, blocks_of(rows), kFlatThreads, q, scale,
           scaled_by_row, cols, static_cast<typename To::Type*>(to), row_sum);
  });
}

void dequantize(void* stream, const int8_t* q, const float* scale, bool scaled_by_row, size_t rows,
                size_t cols, device::FloatType type, void* to, int32_t* row_sum) {
  if (rows == 0) return;
  const auto run = type == device::FloatType::fp32   ? dequantize_to<ToFp32>
                   : type == device::FloatType::bf16 ? dequantize_to<ToBf16>
                                                     : dequantize_to<ToFp16>;
  run(stream_of(stream), q, scale, scaled_by_row, rows, cols, to, row_sum);
}

void scale_accumulators(void* stream, const int32_t* acc, const float* scale, bool scaled_by_row,
                        const float* token_scale, const float* bias, size_t tokens, size_t rows,
                        float* y) {
  if (tokens == 0) return;
  const float* const by_row = scaled_by_row ? scale : nullptr;
  by_fours(rows, {acc, by_row, bias, y}, [&](auto whole) {
    launch(stream_of(stream), scale_sums<whole>, blocks_of(tokens), kActivationThreads, acc, scale,
           scaled_by_row, token_scale, bias, rows, y);
  });
}

template <class Act>
void run_gated(cudaStream_t stream, const float* gate, const float* up, size_t n, float* y) {
  const dim3 blocks = blocks_of(blocks_for(n, kActivationThreads));
  by_fours(n, {gate, up, y}, [&](auto whole) {
    launch(stream, gated<Act, whole>, blocks, kActivationThreads, gate, up, n, y);
  });
}

void glu(void* stream, Activation activation, const float* gate, const float* up, size_t n,
         float* y) {
  if (n == 0) return;
  const auto run = activation == Activation::swiglu ? run_gated<Silu> : run_gated<SquaredRelu>;
  run(stream_of(stream), gate, up, n, y);
}

template <class Act>
void run_gated_backward(cudaStream_t stream, const float* gate, const float* up, const float* dy,
                        size_t n, float* dgate, float* dup) {
  const dim3 blocks = blocks_of(blocks_for(n, kActivationThreads));
  by_fours(n, {gate, up, dy, dgate, dup}, [&](auto whole) {
    launch(stream, gated_backward<Act, whole>, blocks, kActivationThreads, gate, up, dy, n, dgate,
           dup);
  });
}

void glu_backward(void* stream, Activation activation, const float* gate, const float* up,
                  const float* dy, size_t n, float* dgate, float* dup) {
  if (n == 0) return;
  const auto run =
      activation == Activation::swiglu ? run_gated_backward<Silu> : run_gated_backward<SquaredRelu>;
  run(stream_of(stream), gate, up, dy, n, dgate, dup);
}

constexpr device::Kernels kKernels = {
    .quantize_tokens = quantize_tokens,
    .rms_norm = rms_norm,
    .norm_quantize = norm_quantize,
    .rms_norm_backward = rms_norm_backward,
    .ternarize = ternarize,
    .dequantize = dequantize,
    .scale_accumulators = scale_accumulators,
    .glu = glu,
    .glu_backward = glu_backward,
};

}  // namespace
}  // namespace fused

const device::Kernels* device::cuda_kernels(int device) {
  int major = 0;
  tristill::cuda::check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device),
                        "asking for the device's compute capability");
  return major >= fused::kLeastMajor ? &fused::kKernels : nullptr;
}

}  // namespace tristill::train
