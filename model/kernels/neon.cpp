// NEON with dot products: from Armv8.2 on where the processor has them.
#if defined(__aarch64__)
#include "model/kernels/lanes_neon.h"

#include "model/kernels/int8_rows_neon.h"
#include "model/kernels/vector_table.h"

namespace tristill::kernels {

const KernelTable kNeon = vector_table("neon", /*unpacks_dense=*/false);

}  // namespace tristill::kernels
#endif
