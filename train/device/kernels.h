// The trainer's operations as kernels of ours, each one pass over memory where ATen takes several:
// a table of launchers on plain addresses, in the device's memory, so that neither libtorch knows
// them nor they libtorch. They come of train/device/cuda, by nvcc, or in tests by an emulator. Who
// has tensors asks train/device/kernel_launch.h. Launchers return at once; work is done in the
// order of the stream (a cudaStream_t). They throw what model/cuda/runtime.h throws. What is
// written lies nowhere in what is read.
//
// What holds of the numbers (ops.h says what holds of ATen's):
//   - tokens, scales, norms and the forward pass of a GLU are the CPU's to the bit, so that the
//     tokens of a normed row are those that are served; sums of squares are in the one order of
//     model/kernels/kernels.h
//   - gamma is a sum in fp64, in an order that depends on nothing but the size
//   - backward passes are fp32 in an order of their own, the same in every run
//   - a number that is not finite stays one: the scale of its token, or gamma, is not finite
//
// Bytes that go through memory for a number, counted, not measured; here, and by ATen as the files
// beside this one have it:
//                         here   ATen                             here   ATen
//   quantize_tokens          5     41        ternarize               9     37
//   rms_norm                 8     28        dequantize, bf16        3     12
//   norm_quantize            5     69        scale_accumulators      8     16
//   rms_norm_backward       12     88        glu                    12     20
//                                            glu_backward, swiglu   20     88
#pragma once

#include <cstddef>
#include <cstdint>

#include "model/config.h"

namespace tristill::train::device {

// The widest row that a block holds in its registers. Wider ones are ATen's.
constexpr size_t kMostKernelColumns = 16384;
// Rows of the partial sums of rms_norm_backward, at most.
constexpr size_t kNormStrips = 1024;
constexpr size_t norm_strips(size_t rows) { return rows < kNormStrips ? rows : kNormStrips; }
// Partial sums of ternarize, at most.
constexpr size_t kMagnitudeSums = 256;

enum class FloatType { fp32, bf16, fp16 };

struct Kernels {
  // x [rows, cols] -> q = clip(round_half_even(x / scale), -limit, limit), scale [rows] =
  // absmax / limit: model/ternary.h
  void (*quantize_tokens)(void* stream, const float* x, size_t rows, size_t cols, float limit,
                          int8_t* q, float* scale);

  // y = x * gain / sqrt(mean(x^2) + eps)      x, y [rows, cols], gain [cols]
  void (*rms_norm)(void* stream, const float* x, const float* gain, float eps, size_t rows,
                   size_t cols, float* y);
  // quantize_tokens of rms_norm, which is never written.
  void (*norm_quantize)(void* stream, const float* x, const float* gain, float eps, size_t rows,
                        size_t cols, float limit, int8_t* q, float* scale);
  //   r = 1 / sqrt(mean(x^2) + eps),  dx = r (dy gain - x r^2 mean(dy gain x))
  //   dgain [norm_strips(rows), cols] = sums of dy x r over strips of rows: add them up
  void (*rms_norm_backward)(void* stream, const float* x, const float* gain, float eps,
                            const float* dy, size_t rows, size_t cols, float* dx, float* dgain);

  // gamma [1] = mean |w|, t [n] = clip(round_half_even(w / gamma), -1, 1); sums [kMagnitudeSums] is
  // room to work in.
  void (*ternarize)(void* stream, const float* w, size_t n, double* sums, int8_t* t, float* gamma);
  // to [rows, cols] = q * scale in that type, row_sum [rows] = sum of the row's q; scale [1], or
  // [rows] where it is a row's.
  void (*dequantize)(void* stream, const int8_t* q, const float* scale, bool scaled_by_row,
                     size_t rows, size_t cols, FloatType type, void* to, int32_t* row_sum);

  // y = acc * (scale * s) [+ bias], as ternary.h associates it: acc, y [tokens, rows], s [tokens],
  // scale [1] or [rows], bias [rows] or null
  void (*scale_accumulators)(void* stream, const int32_t* acc, const float* scale,
                             bool scaled_by_row, const float* token_scale, const float* bias,
                             size_t tokens, size_t rows, float* y);

  // y = act(gate) * up, act silu or relu^2      all [n]
  void (*glu)(void* stream, Activation activation, const float* gate, const float* up, size_t n,
              float* y);
  //   dgate = dy up act'(gate),  dup = dy act(gate)
  void (*glu_backward)(void* stream, Activation activation, const float* gate, const float* up,
                       const float* dy, size_t n, float* dgate, float* dup);
};

// Those of train/device/cuda, for the device of that number; null where it is older than what they
// are compiled for. In builds with CUDA alone.
const Kernels* cuda_kernels(int device);

}  // namespace tristill::train::device
