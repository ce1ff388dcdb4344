// AVX-512 with VNNI: from Cascade Lake on.
#if defined(__x86_64__)
#include "model/kernels/lanes_avx512.h"

#include "model/kernels/int8_rows_avx512.h"
#include "model/kernels/vector_table.h"

namespace tristill::kernels {

const KernelTable kAvx512Vnni = vector_table("avx512vnni", /*unpacks_dense=*/false);

}  // namespace tristill::kernels
#endif
