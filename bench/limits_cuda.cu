#include "bench/limits_cuda.h"

#include <algorithm>

#include "model/cuda/linear.cuh"
#include "model/cuda/runtime.h"

namespace tristill::bench {
namespace {

using cuda::check;

constexpr uint32_t kThreads = 256;
constexpr uint32_t kBlocksPerProcessor = 8;
constexpr uint32_t kProducts = 4096;  // a warp, in each of four chains
constexpr int kRepetitions = 20;

// So many products of 16 x 8 x 32 a warp, whose results nobody needs; written, or they would go.
__global__ void multiply_on(uint32_t seed, int32_t* out) {
  int32_t d[4][4] = {};
  const uint32_t a[4] = {seed, seed + 1, seed + 2, threadIdx.x};
  const uint32_t b[2] = {seed + 3, threadIdx.x};
  for (uint32_t i = 0; i < kProducts; ++i) {
#pragma unroll
    for (auto& chain : d) cuda::multiply_tile(chain, a, b);
  }
  int32_t sum = 0;
  for (const auto& chain : d) sum += chain[0] + chain[1] + chain[2] + chain[3];
  out[size_t{blockIdx.x} * blockDim.x + threadIdx.x] = sum;
}

__global__ void read_all(const int4* from, size_t n, int32_t* out) {
  int32_t sum = 0;
  const size_t stride = size_t{gridDim.x} * blockDim.x;
  for (size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n; i += stride) {
    const int4 value = from[i];
    sum += value.x ^ value.y ^ value.z ^ value.w;
  }
  out[size_t{blockIdx.x} * blockDim.x + threadIdx.x] = sum;
}

uint32_t count_processors() {
  int n = 0;
  check(cudaDeviceGetAttribute(&n, cudaDevAttrMultiProcessorCount, 0), "asking the device");
  return static_cast<uint32_t>(n);
}

// The least seconds of some runs of start(stream), by the device's clock; after one that warms up.
template <class Start>
double seconds_of(Start start) {
  cuda::Stream stream;
  cudaEvent_t before = nullptr;
  cudaEvent_t after = nullptr;
  check(cudaEventCreate(&before), "making an event");
  check(cudaEventCreate(&after), "making an event");
  start(stream);
  float least = 1e30F;
  for (int i = 0; i < kRepetitions; ++i) {
    check(cudaEventRecord(before, stream.get()), "timing");
    start(stream);
    check(cudaEventRecord(after, stream.get()), "timing");
    check(cudaEventSynchronize(after), "timing");
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, before, after), "timing");
    least = std::min(least, milliseconds);
  }
  cudaEventDestroy(before);
  cudaEventDestroy(after);
  return least * 1e-3;
}

}  // namespace

double measure_cuda_int8_ops() {
  const uint32_t n_blocks = count_processors() * kBlocksPerProcessor;
  cuda::DeviceArray<int32_t> out(size_t{n_blocks} * kThreads);
  const double seconds = seconds_of([&](cuda::Stream& stream) {
    stream.launch(multiply_on, dim3(n_blocks), kThreads, 0x01020304U, out.data());
  });
  const double products = double{kThreads / cuda::kWarp} * n_blocks * kProducts * 4;
  return products * 2 * 16 * 8 * 32 / seconds;
}

double measure_cuda_read_bandwidth(size_t bytes) {
  const uint32_t n_blocks = count_processors() * kBlocksPerProcessor;
  const size_t n = std::max<size_t>(bytes / sizeof(int4), 1);
  cuda::DeviceArray<int4> from(n);
  cuda::DeviceArray<int32_t> out(size_t{n_blocks} * kThreads);
  check(cudaMemset(from.data(), 1, n * sizeof(int4)), "filling device memory");
  const double seconds = seconds_of([&](cuda::Stream& stream) {
    stream.launch(read_all, dim3(n_blocks), kThreads, from.data(), n, out.data());
  });
  return static_cast<double>(n * sizeof(int4)) / seconds;
}

}  // namespace tristill::bench
