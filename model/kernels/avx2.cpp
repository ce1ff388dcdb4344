// AVX2 with FMA and F16C: x86-64-v3, every x86 server since 2013.
#if defined(__x86_64__)
#include "model/kernels/lanes_avx2.h"

#include "model/kernels/int8_rows_avx2.h"
#include "model/kernels/vector_table.h"

namespace tristill::kernels {

const KernelTable kAvx2 = vector_table("avx2", /*unpacks_dense=*/false);

}  // namespace tristill::kernels
#endif
