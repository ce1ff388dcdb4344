#include "train/run/memory_meter.h"

#include <torch/types.h>
#include <torch/version.h>

#include <atomic>
#include <cstdlib>
#include <cstring>

#include "base/check.h"

namespace tristill::train {
namespace {

std::atomic<int64_t> bytes_held{0};
std::atomic<int64_t> bytes_peak{0};

void count(int64_t bytes) {
  const int64_t held = bytes_held += bytes;
  int64_t peak = bytes_peak;
  while (held > peak && !bytes_peak.compare_exchange_weak(peak, held)) {}
}

// The size lies in front of the data, in an alignment's worth of bytes.
constexpr size_t kFront = 64;

void free_counted(void* data) {
  if (data == nullptr) return;
  void* block = static_cast<char*>(data) - kFront;
  int64_t bytes = 0;
  std::memcpy(&bytes, block, sizeof bytes);
  count(-bytes);
  std::free(block);
}

struct CountingAllocator final : at::Allocator {
#if TORCH_VERSION_MAJOR >= 2
  at::DataPtr allocate(size_t bytes) override { return made(bytes); }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }
#else
  at::DataPtr allocate(size_t bytes) const override { return made(bytes); }
#endif
  at::DeleterFnPtr raw_deleter() const override { return &free_counted; }

 private:
  static at::DataPtr made(size_t bytes) {
    if (bytes == 0) return {nullptr, nullptr, &free_counted, at::Device(at::kCPU)};
    void* block = nullptr;
    if (posix_memalign(&block, kFront, bytes + kFront) != 0) throw std::bad_alloc();
    const auto size = static_cast<int64_t>(bytes);
    std::memcpy(block, &size, sizeof size);
    count(size);
    void* data = static_cast<char*>(block) + kFront;
    return {data, data, &free_counted, at::Device(at::kCPU)};
  }
};

CountingAllocator counting;
at::Allocator* previous = nullptr;

}  // namespace

MemoryMeter::MemoryMeter() {
  CHECK(previous == nullptr);
  previous = c10::GetAllocator(at::kCPU);
  bytes_held = 0;
  bytes_peak = 0;
  c10::SetAllocator(at::kCPU, &counting, /*priority=*/255);
}

// libtorch refuses to go back to an allocator of lower priority, so ours keeps the highest.
MemoryMeter::~MemoryMeter() {
  c10::SetAllocator(at::kCPU, previous, /*priority=*/255);
  previous = nullptr;
}

int64_t MemoryMeter::held() const { return bytes_held; }
int64_t MemoryMeter::peak() const { return bytes_peak; }

}  // namespace tristill::train
