// AVX-VNNI: vpdpbusd on 256 bits, for processors that have no AVX-512.
#if defined(__x86_64__)
#include "model/kernels/lanes_avx2.h"

#include "model/kernels/int8_rows_avx2.h"
#include "model/kernels/vector_table.h"

namespace tristill::kernels {

const KernelTable kAvxVnni = vector_table("avxvnni", /*unpacks_dense=*/false);

}  // namespace tristill::kernels
#endif
