// NEON with int8 matrix products: from Armv8.6 on.
#if defined(__aarch64__)
#include "model/kernels/lanes_neon.h"

#include "model/kernels/int8_rows_neon.h"
#include "model/kernels/vector_table.h"

namespace tristill::kernels {

const KernelTable kNeonI8mm = vector_table("neoni8mm", /*unpacks_dense=*/false);

}  // namespace tristill::kernels
#endif
