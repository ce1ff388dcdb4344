// CUDA's language and runtime as far as model/cuda and train/device/cuda use them, on the CPU:
// tests compare the GPU's kernels with the CPU's bit for bit where no GPU is. One block at a time;
// its threads are fibers that run until a barrier. Checks no races, no memory limits, no alignment.
// One host thread.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __shared__ static
#define __launch_bounds__(n)

struct dim3 {
  uint32_t x = 1, y = 1, z = 1;
  constexpr dim3() = default;
  constexpr explicit dim3(uint32_t n_x, uint32_t n_y = 1, uint32_t n_z = 1)
      : x(n_x), y(n_y), z(n_z) {}
};
struct alignas(16) int4 {
  int x, y, z, w;
};

inline dim3 gridDim, blockDim, blockIdx, threadIdx;

namespace cuda_emulator {

// Runs thread(i) for all threads of a block, switching among them at barriers.
void run_block(uint32_t n_threads, const std::function<void()>& thread);
void block_barrier();
void warp_barrier();
// A warp's shared place for `bytes` of each lane; two take turns, so that nobody overwrites what
// others still read.
uint32_t* exchange(uint32_t words);

// See PTX ISA, mma.m16n8k32.
void mma_m16n8k32(int32_t (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);

}  // namespace cuda_emulator

inline void __syncthreads() { cuda_emulator::block_barrier(); }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float x) { return std::sqrt(x); }
inline int __float2int_rn(float x) { return static_cast<int>(std::nearbyint(x)); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline float __uint_as_float(uint32_t x) { return std::bit_cast<float>(x); }
inline uint32_t __float_as_uint(float x) { return std::bit_cast<uint32_t>(x); }
// Of whole warps alone.
template <class T>
T __shfl_xor_sync(uint32_t /*lanes*/, T value, int other) {
  constexpr auto kWords = static_cast<uint32_t>(sizeof(T) / sizeof(uint32_t));
  const uint32_t lane = threadIdx.x % 32;
  uint32_t* const all = cuda_emulator::exchange(kWords);
  std::memcpy(all + lane * kWords, &value, sizeof(T));
  cuda_emulator::warp_barrier();
  std::memcpy(&value, all + (lane ^ static_cast<uint32_t>(other)) * kWords, sizeof(T));
  return value;
}
inline int atomicAdd(int* to, int value) { return std::exchange(*to, *to + value); }
inline uint32_t atomicMin(uint32_t* to, uint32_t value) {
  return std::exchange(*to, std::min(*to, value));
}
inline int __dp4a(int a, int b, int sum) {
  for (int i = 0; i < 4; ++i) {
    sum += static_cast<int8_t>(a >> (8 * i)) * static_cast<int8_t>(b >> (8 * i));
  }
  return sum;
}

// The runtime. A stream does everything at once, or records it.
enum cudaError_t { cudaSuccess, cudaErrorMemoryAllocation, cudaErrorUnknown };
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
enum cudaDeviceAttr { cudaDevAttrComputeCapabilityMajor, cudaDevAttrComputeCapabilityMinor };
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal };
constexpr unsigned cudaStreamNonBlocking = 1;

namespace cuda_emulator {
using Work = std::vector<std::function<void()>>;
struct Stream {
  std::unique_ptr<Work> recording;
  void take(std::function<void()> work) {
    if (recording != nullptr) {
      recording->push_back(std::move(work));
    } else {
      work();
    }
  }
};
}  // namespace cuda_emulator
using cudaStream_t = cuda_emulator::Stream*;
using cudaGraph_t = cuda_emulator::Work*;
using cudaGraphExec_t = cuda_emulator::Work*;

inline const char* cudaGetErrorString(cudaError_t) { return "emulated"; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaGetDeviceCount(int* n) {
  *n = 1;
  return cudaSuccess;
}
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  *value = attribute == cudaDevAttrComputeCapabilityMajor ? 9 : 0;
  return cudaSuccess;
}
// Filled with bytes that no result may depend on.
inline cudaError_t cudaMalloc(void** memory, size_t size) {
  *memory = std::aligned_alloc(256, (size + 255) / 256 * 256);
  if (*memory == nullptr) return cudaErrorMemoryAllocation;
  std::memset(*memory, 0xA7, size);
  return cudaSuccess;
}
inline cudaError_t cudaMallocHost(void** memory, size_t size) { return cudaMalloc(memory, size); }
inline cudaError_t cudaFree(void* memory) {
  std::free(memory);
  return cudaSuccess;
}
inline cudaError_t cudaFreeHost(void* memory) { return cudaFree(memory); }
inline cudaError_t cudaMemcpy(void* to, const void* from, size_t size, cudaMemcpyKind) {
  std::memcpy(to, from, size);
  return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t size, cudaMemcpyKind,
                                   cudaStream_t stream) {
  stream->take([=] { std::memcpy(to, from, size); });
  return cudaSuccess;
}
inline cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch,
                                     size_t width, size_t height, cudaMemcpyKind,
                                     cudaStream_t stream) {
  stream->take([=] {
    for (size_t i = 0; i < height; ++i) {
      std::memcpy(static_cast<char*>(to) + i * to_pitch,
                  static_cast<const char*>(from) + i * from_pitch, width);
    }
  });
  return cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void* to, int value, size_t size, cudaStream_t stream) {
  stream->take([=] { std::memset(to, value, size); });
  return cudaSuccess;
}
inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new cuda_emulator::Stream;
  return cudaSuccess;
}
inline cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  stream->recording = std::make_unique<cuda_emulator::Work>();
  return cudaSuccess;
}
inline cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = stream->recording.release();
  return cudaSuccess;
}
inline cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned) {
  *exec = new cuda_emulator::Work(*graph);
  return cudaSuccess;
}
inline cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t) {
  for (const auto& work : *exec) work();
  return cudaSuccess;
}
inline cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
inline cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  return cudaSuccess;
}

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  cudaStream_t stream;
};

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  const dim3 grid = config->gridDim;
  const dim3 block = config->blockDim;
  if (grid.x == 0 || grid.y == 0 || block.x == 0 || block.x > 1024) return cudaErrorUnknown;
  config->stream->take([=] {
    gridDim = grid;
    blockDim = block;
    for (uint32_t y = 0; y < grid.y; ++y) {
      for (uint32_t x = 0; x < grid.x; ++x) {
        blockIdx = dim3(x, y);
        cuda_emulator::run_block(block.x, [&] { kernel(arguments...); });
      }
    }
  });
  return cudaSuccess;
}
