// AVX-512 with VNNI and VBMI: from Ice Lake and Zen 4 on.
#if defined(__x86_64__)
#include "model/kernels/lanes_avx512.h"

#include "model/kernels/int8_rows_avx512.h"
#include "model/kernels/vector_attention.h"
#include "model/kernels/vector_elementwise.h"
#include "model/kernels/vector_linear.h"

namespace tristill::kernels {

const KernelTable kAvx512Vbmi = {
    .isa = "avx512vbmi",
    .tile_tokens = kTileTokens,
    .unpacks_dense = true,
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
