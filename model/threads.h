// ThreadTeam: a fixed set of threads that run one piece of work together and wait for each other.
// One thread at a time uses it (hold a turn) and takes part as thread 0. Between pieces of work
// members spin for some microseconds, then sleep: an idle team costs no CPU. Not a task queue.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

namespace tristill {

// Cores this process may use: CPU affinity, one a physical core, cut by the cgroup's quota (v1 or
// v2). At least 1.
uint32_t usable_cores();

// The part of 0 .. n that belongs to a thread: contiguous, borders at multiples of grain.
struct Share {
  size_t begin, end;
};
Share share_of(size_t n, size_t grain, uint32_t thread, uint32_t n_threads);

class ThreadTeam {
 public:
  // Pinned members stay on a core each, for machines that nobody else uses; the first core is left
  // to the caller. Others go where the system puts them.
  enum class Placement { free, pinned };

  explicit ThreadTeam(uint32_t n_threads, Placement placement = Placement::free);  // at least 1
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  uint32_t size() const { return n_threads_; }

  // The right to use the team while it lives; others wait in the order they came. For engines that
  // share a team: a step each, turn about.
  class Turn {
   public:
    explicit Turn(ThreadTeam& team);
    ~Turn();
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

   private:
    ThreadTeam& team_;
  };

  // work(part, thread) once for every part; returns when all are done. Parts are dealt out in
  // equal runs; a thread that has done its own takes from the end of another's, so that a member
  // that the system has put aside holds nobody up: results must not depend on who does what.
  // Rethrows what a part threw. n_parts is at most 65535.
  template <class Work>
  void run(uint32_t n_parts, Work&& work) {
    using Plain = std::remove_reference_t<Work>;
    const Call call = [](void* context, uint32_t part, uint32_t thread) {
      (*static_cast<Plain*>(context))(part, thread);
    };
    run_call(n_parts, call, const_cast<void*>(static_cast<const void*>(&work)));
  }

  // work(i, thread) for i < n in parts of at least grain; on the calling thread alone when
  // n <= grain.
  template <class Work>
  void for_each(size_t n, size_t grain, Work&& work) {
    const uint32_t n_parts = parts_of(n, grain, 4);
    run(n_parts, [&](uint32_t part, uint32_t thread) {
      const Share mine = share_of(n, 1, part, n_parts);
      for (size_t i = mine.begin; i < mine.end; ++i) work(i, thread);
    });
  }

  // Into how many parts to split n units of work: most_per_thread a thread, each of grain or more.
  uint32_t parts_of(size_t n, size_t grain, uint32_t most_per_thread) const {
    const size_t most = n_threads_ == 1 ? 1 : size_t{n_threads_} * most_per_thread;
    return static_cast<uint32_t>(std::clamp<size_t>(n / grain, 1, most));
  }

 private:
  using Call = void (*)(void* context, uint32_t part, uint32_t thread);
  // A thread's run of parts that nobody has taken: round << 32 | end << 16 | begin. The round
  // makes a late member's claim on an old run fail. On a cache line of its own.
  struct alignas(64) Hand {
    std::atomic<uint64_t> parts{0};
  };

  void run_call(uint32_t n_parts, Call call, void* context);
  void deal(uint32_t n_parts, uint32_t round);
  void wake_sleepers();
  void play(uint32_t thread);
  uint32_t do_parts(uint32_t thread);
  void do_part(uint32_t part, uint32_t thread);
  void rethrow_first();
  void member(uint32_t thread);
  bool wait_for_round(uint32_t thread, uint32_t seen);

  uint32_t n_threads_;
  std::unique_ptr<Hand[]> hands_;  // one a thread
  Call call_ = nullptr;  // valid for whoever holds a part
  void* context_ = nullptr;
  alignas(64) std::atomic<uint32_t> n_missing_{0};  // parts of this round that are not done
  alignas(64) std::atomic<uint32_t> n_asleep_{0};
  std::atomic<uint32_t> bell_{0};  // what sleepers wait on
  std::atomic<bool> stop_{false};
  std::atomic<uint32_t> next_turn_{0};
  std::atomic<uint32_t> turn_{0};
  uint32_t round_ = 0;  // the caller's
  std::vector<std::exception_ptr> thrown_;  // one a thread
  std::vector<std::thread> threads_;
};

}  // namespace tristill
