// ThreadPool: threads that come with work and leave when idle, so that a slow client never makes
// another wait. For connections, not for computing. submit() from one thread; finish() once.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>

namespace tristill::http {

class ThreadPool {
 public:
  explicit ThreadPool(size_t max_threads) : max_threads_(max_threads) {}
  ~ThreadPool() { finish(); }
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // Runs work soon on a thread of its own. False, and work is dropped, when no thread can be had.
  [[nodiscard]] bool submit(std::function<void()> work);
  // Returns when all work is done.
  void finish();

 private:
  void serve();

  std::mutex mutex_;  // guards what follows
  std::condition_variable wake_, all_left_;
  std::deque<std::function<void()>> tasks_;
  size_t idle_ = 0;
  size_t threads_ = 0;
  const size_t max_threads_;
  bool finishing_ = false;
};

}  // namespace tristill::http
