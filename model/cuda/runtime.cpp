#include "model/cuda/runtime.h"

#include <new>
#include <stdexcept>
#include <string>

void tristill::cuda::check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // or the next call would report it once more
  if (status == cudaErrorMemoryAllocation) throw std::bad_alloc();
  throw std::runtime_error(std::string(what) + " failed: " + cudaGetErrorString(status));
}
