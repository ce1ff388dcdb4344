// AVX-VNNI: vpdpbusd on 256 bits, for processors that have no AVX-512.
#if defined(__x86_64__)
#include "model/kernels/lanes_avx2.h"

#include "model/kernels/int8_rows_avx2.h"
#include "model/kernels/vector_attention.h"
#include "model/kernels/vector_elementwise.h"
#include "model/kernels/vector_linear.h"

namespace tristill::kernels {

const KernelTable kAvxVnni = {
    .isa = "avxvnni",
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
