// The CUDA runtime's handles as owners, its errors as exceptions: std::bad_alloc when device memory
// is short, std::runtime_error otherwise. All work goes to one stream.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

namespace tristill::cuda {

// Throws unless the status is success; what was tried goes into the message.
void check(cudaError_t status, const char* what);

struct DeviceFree {
  void operator()(void* memory) const { cudaFree(memory); }
};
struct PinnedFree {
  void operator()(void* memory) const { cudaFreeHost(memory); }
};

// n values in device memory, not initialised.
template <class T>
class DeviceArray {
 public:
  DeviceArray() = default;
  explicit DeviceArray(size_t n) : size_(n) {
    void* memory = nullptr;
    if (n > 0) check(cudaMalloc(&memory, n * sizeof(T)), "allocating device memory");
    memory_.reset(static_cast<T*>(memory));
  }
  explicit DeviceArray(std::span<const T> values) : DeviceArray(values.size()) {
    if (values.empty()) return;
    check(cudaMemcpy(data(), values.data(), values.size_bytes(), cudaMemcpyHostToDevice),
          "copying to the device");
  }
  T* data() const { return memory_.get(); }
  size_t size() const { return size_; }

 private:
  std::unique_ptr<T, DeviceFree> memory_;
  size_t size_ = 0;
};

// n values in host memory that the device reads and writes without a detour.
template <class T>
class PinnedArray {
 public:
  PinnedArray() = default;
  explicit PinnedArray(size_t n) : size_(n) {
    void* memory = nullptr;
    check(cudaMallocHost(&memory, n * sizeof(T)), "allocating pinned memory");
    memory_.reset(static_cast<T*>(memory));
  }
  T* data() const { return memory_.get(); }
  size_t size() const { return size_; }

 private:
  std::unique_ptr<T, PinnedFree> memory_;
  size_t size_ = 0;
};

// kernel(arguments...) on a grid of blocks of n_threads.
template <class... Parameters, class... Arguments>
void launch(cudaStream_t stream, void (*kernel)(Parameters...), dim3 grid, uint32_t n_threads,
            Arguments&&... arguments) {
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = dim3(n_threads);
  config.stream = stream;
  check(cudaLaunchKernelEx(&config, kernel, Parameters(std::forward<Arguments>(arguments))...),
        "starting a kernel");
}

class Stream {
 public:
  Stream() { check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream"); }
  ~Stream() { cudaStreamDestroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  void wait() { check(cudaStreamSynchronize(stream_), "computing on the device"); }

  template <class T>
  void copy_in(T* to, const T* from, size_t n) {
    check(cudaMemcpyAsync(to, from, n * sizeof(T), cudaMemcpyHostToDevice, stream_),
          "copying to the device");
  }
  template <class T>
  void copy_out(T* to, const T* from, size_t n) {
    check(cudaMemcpyAsync(to, from, n * sizeof(T), cudaMemcpyDeviceToHost, stream_),
          "copying from the device");
  }

  template <class... Parameters, class... Arguments>
  void launch(void (*kernel)(Parameters...), dim3 grid, uint32_t n_threads,
              Arguments&&... arguments) {
    cuda::launch(stream_, kernel, grid, n_threads, std::forward<Arguments>(arguments)...);
  }

  cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

// Launches recorded once, started together.
class Graph {
 public:
  Graph() = default;
  // What record() launches on the stream.
  template <class Record>
  Graph(Stream& stream, Record&& record) {
    Recording recording(stream);
    record();
    check(recording.end(), "recording");
    check(cudaGraphInstantiate(&graph_, recording.graph, 0), "preparing a graph");
  }
  Graph(Graph&& other) noexcept : graph_(std::exchange(other.graph_, nullptr)) {}
  Graph& operator=(Graph&& other) noexcept {
    std::swap(graph_, other.graph_);
    return *this;
  }
  ~Graph() {
    if (graph_ != nullptr) cudaGraphExecDestroy(graph_);
  }

  bool empty() const { return graph_ == nullptr; }
  void start(Stream& stream) { check(cudaGraphLaunch(graph_, stream.get()), "starting a graph"); }

 private:
  // Ends whatever happens.
  struct Recording {
    explicit Recording(Stream& to) : stream(to.get()) {
      check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "recording");
    }
    ~Recording() {
      if (stream != nullptr) end();
      if (graph != nullptr) cudaGraphDestroy(graph);
    }
    Recording(const Recording&) = delete;
    Recording& operator=(const Recording&) = delete;
    cudaError_t end() { return cudaStreamEndCapture(std::exchange(stream, nullptr), &graph); }

    cudaStream_t stream;
    cudaGraph_t graph = nullptr;
  };

  cudaGraphExec_t graph_ = nullptr;
};

}  // namespace tristill::cuda
