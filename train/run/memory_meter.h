// MemoryMeter: how many bytes of tensors are held, and the most that ever were, on the CPU. Puts
// itself in front of libtorch's allocator while it lives; one at a time, tensors made meanwhile may
// outlive it. Any thread may allocate.
#pragma once

#include <cstdint>

namespace tristill::train {

class MemoryMeter {
 public:
  MemoryMeter();
  ~MemoryMeter();
  MemoryMeter(const MemoryMeter&) = delete;
  MemoryMeter& operator=(const MemoryMeter&) = delete;

  // Of tensors made since the meter was.
  int64_t held() const;
  int64_t peak() const;
};

}  // namespace tristill::train
