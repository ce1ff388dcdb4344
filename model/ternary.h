// The ternary contract shared by the trainer, the file format and the engine
// (BitNet b1.58, Ma et al. 2024, eqs. 1-3). Pure functions, any thread.
//
//   gamma = mean |W|                        one per matrix, fp32, stored and never recomputed
//   T     = clip(round_half_even(W / gamma), -1, 1)
//   s     = absmax(x) / L                   one per token, fp32; L = 127 (A8), or 7 (A4)
//   x_q   = clip(round_half_even(x / s), -L, L)
//   y     = (x_q . T^t) * (gamma * s)       exact int32 sums, then one fp32 multiply
//   y_b   = y + b                           of a matrix with a bias a row, rounded once more: the
//                                           product and the sum are never fused
// The rule that finds T and gamma is the trainer's affair (train/quant); absmean's is above.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace tristill {

// Ternarises a matrix: T[i] in {-1, 0, 1}, returns gamma. The mean is summed in fp64 in index
// order. An all-zero matrix gives gamma 0 and T = 0. Non-finite input throws std::domain_error.
float ternarize(std::span<const float> weights, std::span<int8_t> ternary);

// Quantises each row of w [rows, cols] to int8 by its absmax: w ~ q * scale[row].
// A zero row gives scale 0. Non-finite input throws std::domain_error.
void quantize_rows_int8(const float* w, size_t rows, size_t cols, int8_t* q, float* scale);

// The file's packing, 2 bits a weight: ggml's TQ2_0 block of 256 weights, without its scale:
// byte j (0..31) of half h (0..1) holds weights h*128 + j, +32, +64, +96 of the block in bits
// 0-1, 2-3, 4-5, 6-7, each as T + 1. A row is whole blocks: zero weights beyond cols.
constexpr size_t kTernaryBlock = 256;
constexpr size_t kTernaryBlockBytes = 66;  // of a TQ2_0 block with its fp16 scale
constexpr size_t ternary_blocks_of(size_t cols) {
  return (cols + kTernaryBlock - 1) / kTernaryBlock;
}
constexpr size_t packed_ternary_bytes(size_t cols) {
  return ternary_blocks_of(cols) * (kTernaryBlock / 4);
}
void pack_ternary(const int8_t* ternary, size_t rows, size_t cols, uint8_t* packed);
// False when a code is 3, which is no weight, or when a weight beyond cols is not zero.
[[nodiscard]] bool unpack_ternary(const uint8_t* packed, size_t rows, size_t cols, int8_t* ternary);

}  // namespace tristill
