// The table of an ISA that computes in vectors. Included last by an ISA file, after its lanes_*.h
// and int8_rows_*.h.
#pragma once

#include "model/kernels/kernels.h"
#include "model/kernels/vector_attention.h"
#include "model/kernels/vector_elementwise.h"
#include "model/kernels/vector_linear.h"

namespace tristill::kernels {
namespace {

constexpr KernelTable vector_table(const char* isa, bool unpacks_dense) {
  return {
      .isa = isa,
      .tile_tokens = kTileTokens,
      .unpacks_dense = unpacks_dense,
      .quantize_tokens = quantize_tokens,
      .quantize_tile = quantize_tile,
      .linear = linear,
      .greatest_bound = greatest_bound,
      .int8_gemm = int8_gemm,
      .store_kv = store_kv,
      .attend = attend,
      .rms_norm = rms_norm,
      .dot = dot,
      .rotate_half = rotate_half,
      .exp_sum = exp_sum,
      .swiglu = swiglu,
      .squared_relu_glu = squared_relu_glu,
  };
}

}  // namespace
}  // namespace tristill::kernels
