// ThreadTeam: a fixed set of threads that run one piece of work together and wait for each other.
// Used by one thread (which takes part as thread 0). Between pieces of work members spin for some
// microseconds, then sleep: an idle team costs no CPU. Not a task queue.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <thread>
#include <type_traits>
#include <vector>

namespace tristill {

// Cores this process may use: CPU affinity, cut by the cgroup's cpu.max. At least 1.
uint32_t usable_cores();

// The part of 0 .. n that belongs to a thread: contiguous, borders at multiples of grain.
struct Share {
  size_t begin, end;
};
Share share_of(size_t n, size_t grain, uint32_t thread, uint32_t n_threads);

class ThreadTeam {
 public:
  explicit ThreadTeam(uint32_t n_threads);  // at least 1
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  uint32_t size() const { return n_threads_; }

  // work(thread) on every thread; returns when all are done. Rethrows what a thread threw.
  template <class Work>
  void run(Work&& work) {
    using Plain = std::remove_reference_t<Work>;
    const Call call = [](void* context, uint32_t thread) {
      (*static_cast<Plain*>(context))(thread);
    };
    run_call(call, const_cast<void*>(static_cast<const void*>(&work)));
  }

  // work(i) for i < n, split by share_of; on the calling thread alone when n <= grain.
  template <class Work>
  void for_each(size_t n, size_t grain, Work&& work) {
    if (n <= grain) {
      for (size_t i = 0; i < n; ++i) work(i, uint32_t{0});
      return;
    }
    run([&](uint32_t thread) {
      const Share mine = share_of(n, 1, thread, n_threads_);
      for (size_t i = mine.begin; i < mine.end; ++i) work(i, thread);
    });
  }

 private:
  using Call = void (*)(void* context, uint32_t thread);
  void run_call(Call call, void* context);
  void member(uint32_t thread);

  uint32_t n_threads_;
  Call call_ = nullptr;  // call_ and context_ are published by round_
  void* context_ = nullptr;
  std::atomic<uint32_t> round_{0};    // odd or even: a new value is a new piece of work
  std::atomic<uint32_t> pending_{0};  // members that still work
  std::atomic<bool> stop_{false};
  std::vector<std::exception_ptr> thrown_;  // one a thread
  std::vector<std::thread> threads_;
};

}  // namespace tristill
