#include "server/http/thread_pool.h"

#include <chrono>
#include <system_error>
#include <thread>

#include "base/short_slice.h"

namespace tristill::http {
namespace {

constexpr std::chrono::seconds kIdle{5};

}  // namespace

bool ThreadPool::submit(std::function<void()> work) {
  const std::lock_guard lock(mutex_);
  if (idle_ <= tasks_.size()) {
    if (threads_ >= max_threads_) return false;
    try {
      std::thread([this] { serve(); }).detach();
    } catch (const std::system_error&) {  // the machine allows no more
      return false;
    }
    ++threads_;
  }
  tasks_.push_back(std::move(work));
  wake_.notify_one();
  return true;
}

void ThreadPool::serve() {
  take_short_slices();
  std::unique_lock lock(mutex_);
  for (;;) {
    ++idle_;
    wake_.wait_for(lock, kIdle, [this] { return finishing_ || !tasks_.empty(); });
    --idle_;
    if (tasks_.empty()) break;
    auto work = std::move(tasks_.front());
    tasks_.pop_front();
    lock.unlock();
    work();
    work = nullptr;
    lock.lock();
  }
  if (--threads_ == 0) all_left_.notify_all();
}

void ThreadPool::finish() {
  std::unique_lock lock(mutex_);
  finishing_ = true;
  wake_.notify_all();
  all_left_.wait(lock, [this] { return threads_ == 0; });
}

}  // namespace tristill::http
