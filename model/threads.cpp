#include "model/threads.h"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "base/check.h"

namespace tristill {
namespace {

constexpr int kSpins = 4000;  // about 40 us

inline void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Returns once value differs from old: spins, then sleeps.
void wait_for_change(const std::atomic<uint32_t>& value, uint32_t old) {
  for (int i = 0; i < kSpins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    pause_briefly();
  }
  value.wait(old, std::memory_order_acquire);
}

// Cores by cpu.max ("max 100000" or "150000 100000"); 0 when there is no limit.
uint32_t cgroup_cores() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::string quota;
  uint64_t period = 0;
  if (!(file >> quota >> period) || quota == "max" || period == 0) return 0;
  uint64_t micros = 0;
  for (const char c : quota) {
    if (c < '0' || c > '9' || micros > (uint64_t{1} << 50)) return 0;
    micros = micros * 10 + static_cast<uint64_t>(c - '0');
  }
  return static_cast<uint32_t>(std::max<uint64_t>(1, micros / period));
}

}  // namespace

uint32_t usable_cores() {
  cpu_set_t set;
  uint32_t cores = std::max(1U, std::thread::hardware_concurrency());
  if (sched_getaffinity(0, sizeof set, &set) == 0) {
    cores = std::max(1U, static_cast<uint32_t>(CPU_COUNT(&set)));
  }
  const uint32_t limit = cgroup_cores();
  return limit == 0 ? cores : std::min(cores, limit);
}

Share share_of(size_t n, size_t grain, uint32_t thread, uint32_t n_threads) {
  const size_t units = (n + grain - 1) / grain;
  const auto border = [&](size_t t) { return std::min(n, units * t / n_threads * grain); };
  return {border(thread), border(thread + size_t{1})};
}

ThreadTeam::ThreadTeam(uint32_t n_threads) : n_threads_(n_threads), thrown_(n_threads) {
  CHECK(n_threads >= 1);
  threads_.reserve(n_threads - 1);
  for (uint32_t t = 1; t < n_threads; ++t) threads_.emplace_back([this, t] { member(t); });
}

ThreadTeam::~ThreadTeam() {
  stop_.store(true, std::memory_order_relaxed);
  round_.fetch_add(1, std::memory_order_release);
  round_.notify_all();
  for (auto& thread : threads_) thread.join();
}

void ThreadTeam::run_call(uint32_t n_parts, Call call, void* context) {
  if (n_threads_ == 1 || n_parts == 1) {
    for (uint32_t part = 0; part < n_parts; ++part) call(context, part, 0);
    return;
  }
  call_ = call;
  context_ = context;
  n_done_.store(0, std::memory_order_relaxed);
  const uint32_t round = round_.load(std::memory_order_relaxed) + 1;
  ticket_.store((uint64_t{round} << 32) | n_parts, std::memory_order_release);
  round_.store(round, std::memory_order_release);
  round_.notify_all();
  while (do_one_part(0)) {}
  for (uint32_t done = n_done_.load(std::memory_order_acquire); done != n_parts;
       done = n_done_.load(std::memory_order_acquire)) {
    wait_for_change(n_done_, done);
  }
  for (auto& thrown : thrown_) {
    if (thrown) {
      const auto first = thrown;
      std::fill(thrown_.begin(), thrown_.end(), nullptr);
      std::rethrow_exception(first);
    }
  }
}

// Takes and does a part of the current round; false when none is left.
bool ThreadTeam::do_one_part(uint32_t thread) {
  uint64_t ticket = ticket_.load(std::memory_order_acquire);
  do {
    if ((ticket & UINT32_MAX) == 0) return false;
  } while (!ticket_.compare_exchange_weak(ticket, ticket - 1, std::memory_order_acq_rel,
                                          std::memory_order_acquire));
  // From here until n_done_ counts this part the round cannot end: call_ and context_ are its own.
  const auto part = static_cast<uint32_t>(ticket & UINT32_MAX) - 1;
  try {
    call_(context_, part, thread);
  } catch (...) {
    thrown_[thread] = std::current_exception();
  }
  n_done_.fetch_add(1, std::memory_order_acq_rel);
  n_done_.notify_one();
  return true;
}

void ThreadTeam::member(uint32_t thread) {
  uint32_t seen = 0;
  while (!stop_.load(std::memory_order_relaxed)) {
    wait_for_change(round_, seen);
    seen = round_.load(std::memory_order_acquire);
    while (do_one_part(thread)) {}
  }
}

}  // namespace tristill
