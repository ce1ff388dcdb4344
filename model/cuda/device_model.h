// What the GPU's kernels get to see: plain structs of pointers into device memory, passed by value.
#pragma once

#include <cstddef>
#include <cstdint>

#include "model/kernels/kernels.h"

namespace tristill::cuda {

using kernels::Finish;
using kernels::KvFormat;
using kernels::PanelKind;

constexpr uint32_t kMaxHeadDim = 256;

// A matrix in the panels of kernels.h, never dense.
struct Matrix {
  PanelKind kind;
  const uint8_t* panels;
  const uint8_t* middle;  // sliced
  const uint8_t* low;
  const float* scale;  // as LinearCall's
  const float* bias;  // the same; null: none
  uint32_t rows;  // a multiple of 32
  uint32_t cols;
};

// Quantised tokens: plain rows of padded_row(cols) bytes, zeros beyond cols.
struct Tokens {
  int8_t* q;
  float* scale;
  int32_t* sum;
  uint32_t n;
};
// Whole steps of the matrix products: 128 columns.
constexpr uint32_t padded_row(uint32_t cols) { return (cols + 127) / 128 * 128; }

// out [n, ld] of a linear layer.
struct Output {
  Finish finish;
  void* to;
  uint32_t ld;
};

// Heads, and where their queries, keys and values lie in a row of the qkv product.
struct Heads {
  uint32_t n_heads, n_kv_heads, dim;
  uint32_t k_begin, v_begin, ld;
  const float* q_norm;  // null without
  const float* k_norm;
  float eps;
  uint32_t window;  // 0: all
  float softcap;  // 0: none
  const float* cosine;  // [positions, dim / 2]
  const float* sine;
};

// The cache's blocks of one layer.
struct Cache {
  KvFormat format;
  uint8_t* base;  // of the layer in block 0
  size_t block_bytes;
  uint32_t head_bytes;
};

// The batch: where each token stands.
struct Places {
  const uint32_t* position;  // [n]
  const uint32_t* segment;  // [n]
  const uint32_t* blocks;  // [segments, ld_blocks]
  uint32_t ld_blocks;
};

}  // namespace tristill::cuda
