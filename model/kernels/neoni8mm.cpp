// NEON with int8 matrix products: from Armv8.6 on.
#if defined(__aarch64__)
#include "model/kernels/lanes_neon.h"

#include "model/kernels/int8_rows_neon.h"
#include "model/kernels/vector_attention.h"
#include "model/kernels/vector_elementwise.h"
#include "model/kernels/vector_linear.h"

namespace tristill::kernels {

const KernelTable kNeonI8mm = {
    .isa = "neoni8mm",
    .tile_tokens = kTileTokens,
    .unpacks_dense = false,
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

}  // namespace tristill::kernels
#endif
