// The process environment that training needs: libraries read it while they are loaded, so the
// worker starts itself once more with it set.
#pragma once

namespace tristill::train {

// Sets what is missing and executes the same program again; returns when everything is set.
//   OMP_WAIT_POLICY=passive      idle OpenMP threads sleep: spinning costs a scheduler tick an
//                                operation when cores are shared
//   OPENBLAS_NUM_THREADS=1       our own loops are the parallel ones
//   OPENBLAS_CORETYPE=SKYLAKEX   on CPUs with AVX-512 that OpenBLAS does not know by name
//   MALLOC_*                     large tensors are kept by the allocator: returning them to the
//                                kernel costs a fifth of the time in page faults
// What the user has set stays.
void ensure_environment(char** argv);

}  // namespace tristill::train
