// Threads of a block as fibers. They are entered once by makecontext and switched by _setjmp and
// _longjmp, which cost no system call.
#include <setjmp.h>
#include <ucontext.h>

#include "base/check.h"
#include "tests/support/cuda_emulator/cuda_runtime.h"

namespace cuda_emulator {
namespace {

constexpr size_t kStackBytes = size_t{64} << 10;
constexpr uint32_t kWarp = 32;

// How many have come to a barrier, and how often all have.
struct Barrier {
  uint32_t arrived = 0;
  uint64_t passed = 0;
};

struct Fiber {
  ucontext_t context = {};
  jmp_buf resume;
  std::unique_ptr<char[]> stack = std::make_unique<char[]>(kStackBytes);
  bool started = false;
  bool done = false;
  uint64_t n_exchanges = 0;
};

struct Warp {
  Barrier barrier;
  std::vector<uint32_t> places[2];
};

std::vector<std::unique_ptr<Fiber>> fibers;
std::vector<Warp> warps;
Barrier whole_block;
uint32_t n_live = 0;  // fibers of this block that have not returned
const std::function<void()>* body = nullptr;
Fiber* current = nullptr;
jmp_buf scheduler;

void enter() {
  (*body)();
  current->done = true;
  --n_live;
  _longjmp(scheduler, 1);
}

void yield() {
  Fiber* const self = current;
  if (_setjmp(self->resume) == 0) _longjmp(scheduler, 1);
}

void wait_at(Barrier& barrier, uint32_t n) {
  const uint64_t before = barrier.passed;
  if (++barrier.arrived == n) {
    barrier.arrived = 0;
    ++barrier.passed;
    return;
  }
  while (barrier.passed == before) yield();
}

void run_fiber(Fiber& fiber) {
  current = &fiber;
  if (_setjmp(scheduler) != 0) return;
  if (fiber.started) _longjmp(fiber.resume, 1);
  fiber.started = true;
  setcontext(&fiber.context);
}

}  // namespace

void run_block(uint32_t n_threads, const std::function<void()>& thread) {
  CHECK(n_threads % kWarp == 0);
  while (fibers.size() < n_threads) fibers.push_back(std::make_unique<Fiber>());
  warps.resize(n_threads / kWarp);
  body = &thread;
  n_live = n_threads;
  whole_block = {};
  for (uint32_t i = 0; i < n_threads; ++i) {
    Fiber& fiber = *fibers[i];
    fiber.started = fiber.done = false;
    fiber.n_exchanges = 0;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStackBytes;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, enter, 0);
  }
  while (n_live > 0) {
    for (uint32_t i = 0; i < n_threads; ++i) {
      if (fibers[i]->done) continue;
      threadIdx.x = i;
      run_fiber(*fibers[i]);
    }
  }
  CHECK(whole_block.arrived == 0);  // a thread left while others waited: undefined on a GPU
}

void block_barrier() { wait_at(whole_block, blockDim.x); }

uint32_t* exchange(uint32_t words) {
  Warp& warp = warps[threadIdx.x / kWarp];
  auto& place = warp.places[current->n_exchanges++ % 2];
  if (place.size() < words * kWarp) place.resize(words * kWarp);
  return place.data();
}

void warp_barrier() { wait_at(warps[threadIdx.x / kWarp].barrier, kWarp); }

void mma_m16n8k32(int32_t (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  constexpr uint32_t kWords = 6;
  const uint32_t lane = threadIdx.x % kWarp;
  uint32_t* const all = exchange(kWords);
  std::copy(a, a + 4, all + lane * kWords);
  std::copy(b, b + 2, all + lane * kWords + 4);
  warp_barrier();
  for (uint32_t i = 0; i < 4; ++i) {
    const uint32_t row = lane / 4 + i / 2 * 8;
    const uint32_t token = lane % 4 * 2 + i % 2;
    for (uint32_t k = 0; k < 8; ++k) {  // four columns each
      const uint32_t* const of_row = all + (row % 8 * 4 + k % 4) * kWords;
      const uint32_t* const of_token = all + (token * 4 + k % 4) * kWords + 4;
      d[i] = __dp4a(static_cast<int>(of_row[row / 8 + k / 4 * 2]),
                    static_cast<int>(of_token[k / 4]), d[i]);
    }
  }
}

}  // namespace cuda_emulator
