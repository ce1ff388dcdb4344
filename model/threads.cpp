#include "model/threads.h"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <string>

#include "base/check.h"

namespace tristill {
namespace {

constexpr int kMemberSpins = 6000;  // about 150 us: longer than what lies between two steps
constexpr int kCallerSpins = 2000;  // then the core is offered to whoever holds the last part

inline void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

constexpr uint64_t kPartMask = 0xFFFF;
constexpr uint64_t hand_of(uint32_t round, uint64_t begin, uint64_t end) {
  return uint64_t{round} << 32 | end << 16 | begin;
}
constexpr uint32_t round_of(uint64_t hand) { return static_cast<uint32_t>(hand >> 32); }
constexpr uint64_t begin_of(uint64_t hand) { return hand & kPartMask; }
constexpr uint64_t end_of(uint64_t hand) { return hand >> 16 & kPartMask; }

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// One CPU of every physical core that this process may use: threads that share a core share its
// arithmetic.
std::vector<int> physical_cores() {
  cpu_set_t set;
  std::vector<int> cpus;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return cpus;
  std::set<std::string> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(static_cast<size_t>(cpu), &set)) continue;
    const std::string topology = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
    const std::string siblings = first_line(topology + "thread_siblings_list");
    if (cores.insert(siblings.empty() ? std::to_string(cpu) : siblings).second) {
      cpus.push_back(cpu);
    }
  }
  return cpus;
}

// The calling thread stays on this CPU, if the system lets it.
void stay_on(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<size_t>(cpu), &set);
  sched_setaffinity(0, sizeof set, &set);
}

// Whole cores of a quota in microseconds a period; 0 when there is none.
uint32_t cores_of_quota(const std::string& quota, const std::string& period) {
  const auto number = [](const std::string& text) -> uint64_t {
    uint64_t value = 0;
    for (const char c : text) {
      if (c < '0' || c > '9' || value > (uint64_t{1} << 50)) return 0;
      value = value * 10 + static_cast<uint64_t>(c - '0');
    }
    return value;
  };
  if (number(quota) == 0 || number(period) == 0) return 0;
  return static_cast<uint32_t>(std::max<uint64_t>(1, number(quota) / number(period)));
}

// Cores by cgroup: cpu.max of version 2 ("max 100000" or "150000 100000"), cpu.cfs_* of version 1
// (-1 without a limit).
uint32_t cgroup_cores() {
  const std::string line = first_line("/sys/fs/cgroup/cpu.max");
  const size_t space = line.find(' ');
  if (space != std::string::npos) {
    return cores_of_quota(line.substr(0, space), line.substr(space + 1));
  }
  return cores_of_quota(first_line("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"),
                        first_line("/sys/fs/cgroup/cpu/cpu.cfs_period_us"));
}

}  // namespace

uint32_t usable_cores() {
  auto cores = static_cast<uint32_t>(physical_cores().size());
  if (cores == 0) cores = std::max(1U, std::thread::hardware_concurrency());
  const uint32_t limit = cgroup_cores();
  return limit == 0 ? cores : std::min(cores, limit);
}

Share share_of(size_t n, size_t grain, uint32_t thread, uint32_t n_threads) {
  const size_t units = (n + grain - 1) / grain;
  const auto border = [&](size_t t) { return std::min(n, units * t / n_threads * grain); };
  return {border(thread), border(thread + size_t{1})};
}

ThreadTeam::Turn::Turn(ThreadTeam& team) : team_(team) {
  const uint32_t mine = team_.next_turn_.fetch_add(1, std::memory_order_relaxed);
  for (uint32_t now = team_.turn_.load(std::memory_order_acquire); now != mine;
       now = team_.turn_.load(std::memory_order_acquire)) {
    team_.turn_.wait(now, std::memory_order_acquire);
  }
}

ThreadTeam::Turn::~Turn() {
  team_.turn_.fetch_add(1, std::memory_order_release);
  team_.turn_.notify_all();
}

ThreadTeam::ThreadTeam(uint32_t n_threads, Placement placement)
    : n_threads_(n_threads), hands_(std::make_unique<Hand[]>(n_threads)), thrown_(n_threads) {
  CHECK(n_threads >= 1);
  threads_.reserve(n_threads - 1);
  std::vector<int> cpus;
  if (placement == Placement::pinned) cpus = physical_cores();
  for (uint32_t t = 1; t < n_threads; ++t) {
    threads_.emplace_back([this, t, cpu = cpus.empty() ? -1 : cpus[t % cpus.size()]] {
      if (cpu >= 0) stay_on(cpu);
      member(t);
    });
  }
}

ThreadTeam::~ThreadTeam() {
  stop_.store(true, std::memory_order_seq_cst);
  bell_.fetch_add(1, std::memory_order_seq_cst);
  bell_.notify_all();
  for (auto& thread : threads_) thread.join();
}

void ThreadTeam::run_call(uint32_t n_parts, Call call, void* context) {
  CHECK(n_parts <= kPartMask);
  if (n_threads_ == 1 || n_parts <= 1) {
    for (uint32_t part = 0; part < n_parts; ++part) call(context, part, 0);
    return;
  }
  call_ = call;
  context_ = context;
  n_missing_.store(n_parts, std::memory_order_relaxed);
  deal(n_parts, ++round_);
  wake_sleepers();
  play(0);
  int spins = 0;
  while (n_missing_.load(std::memory_order_acquire) != 0) {
    if (++spins < kCallerSpins) {
      pause_briefly();
    } else {
      std::this_thread::yield();
    }
  }
  rethrow_first();
}

void ThreadTeam::deal(uint32_t n_parts, uint32_t round) {
  for (uint32_t t = n_threads_; t-- > 0;) {
    const Share share = share_of(n_parts, 1, t, n_threads_);
    hands_[t].parts.store(hand_of(round, share.begin, share.end), std::memory_order_release);
  }
}

// A member counts itself asleep before it looks at its hand for the last time, the caller deals
// before it looks at the count: one of them sees the other.
void ThreadTeam::wake_sleepers() {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (n_asleep_.load(std::memory_order_relaxed) == 0) return;
  bell_.fetch_add(1, std::memory_order_release);
  bell_.notify_all();
}

void ThreadTeam::play(uint32_t thread) {
  const uint32_t done = do_parts(thread);
  if (done > 0) n_missing_.fetch_sub(done, std::memory_order_acq_rel);
}

// Takes parts from the front of its own hand, then from the end of others'. From a claim until
// n_missing_ counts it the round cannot end: call_ and context_ are the round's own.
uint32_t ThreadTeam::do_parts(uint32_t thread) {
  uint32_t done = 0;
  for (uint32_t i = 0; i < n_threads_; ++i) {
    const bool own = i == 0;
    auto& parts = hands_[(thread + i) % n_threads_].parts;
    uint64_t hand = parts.load(std::memory_order_acquire);
    while (begin_of(hand) < end_of(hand)) {
      const uint64_t begin = begin_of(hand) + (own ? 1 : 0);
      const uint64_t end = end_of(hand) - (own ? 0 : 1);
      if (!parts.compare_exchange_weak(hand, hand_of(round_of(hand), begin, end),
                                       std::memory_order_acq_rel, std::memory_order_acquire)) {
        continue;
      }
      do_part(static_cast<uint32_t>(own ? begin - 1 : end), thread);
      ++done;
      hand = parts.load(std::memory_order_acquire);
    }
  }
  return done;
}

void ThreadTeam::do_part(uint32_t part, uint32_t thread) {
  try {
    call_(context_, part, thread);
  } catch (...) {
    thrown_[thread] = std::current_exception();
  }
}

void ThreadTeam::rethrow_first() {
  for (auto& thrown : thrown_) {
    if (!thrown) continue;
    const auto first = thrown;
    std::fill(thrown_.begin(), thrown_.end(), nullptr);
    std::rethrow_exception(first);
  }
}

void ThreadTeam::member(uint32_t thread) {
  uint32_t seen = 0;
  while (wait_for_round(thread, seen)) {
    seen = round_of(hands_[thread].parts.load(std::memory_order_acquire));
    play(thread);
  }
}

// Returns once the hand is of another round: spins, then sleeps. False when the team ends.
bool ThreadTeam::wait_for_round(uint32_t thread, uint32_t seen) {
  const auto dealt = [&] {
    return round_of(hands_[thread].parts.load(std::memory_order_seq_cst)) != seen;
  };
  for (int i = 0; i < kMemberSpins; ++i) {
    if (dealt()) return true;
    pause_briefly();
  }
  while (!stop_.load(std::memory_order_seq_cst)) {
    const uint32_t bell = bell_.load(std::memory_order_acquire);
    n_asleep_.fetch_add(1, std::memory_order_seq_cst);
    const bool go = dealt() || stop_.load(std::memory_order_seq_cst);
    if (!go) bell_.wait(bell, std::memory_order_acquire);
    n_asleep_.fetch_sub(1, std::memory_order_relaxed);
    if (dealt()) return true;
  }
  return false;
}

}  // namespace tristill
