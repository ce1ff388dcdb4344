// Bell: wakes those who wait for news. Any thread.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace tristill {

class Bell {
 public:
  // How often it has rung: read it, look at the data, then wait for more.
  uint64_t count() const {
    const std::lock_guard lock(mutex_);
    return count_;
  }
  void ring() {
    {
      const std::lock_guard lock(mutex_);
      ++count_;
    }
    rung_.notify_all();
  }
  // Returns when it has rung more often than seen, or after the time limit.
  void wait(uint64_t seen, std::chrono::milliseconds limit) const {
    std::unique_lock lock(mutex_);
    rung_.wait_for(lock, limit, [&] { return count_ != seen; });
  }

 private:
  mutable std::mutex mutex_;  // guards count_
  mutable std::condition_variable rung_;
  uint64_t count_ = 0;
};

}  // namespace tristill
