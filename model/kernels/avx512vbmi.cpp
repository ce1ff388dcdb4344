// AVX-512 with VNNI and VBMI: from Ice Lake and Zen 4 on.
#if defined(__x86_64__)
#include "model/kernels/lanes_avx512.h"

#include "model/kernels/int8_rows_avx512.h"
#include "model/kernels/vector_table.h"

namespace tristill::kernels {

const KernelTable kAvx512Vbmi = vector_table("avx512vbmi", /*unpacks_dense=*/true);

}  // namespace tristill::kernels
#endif
