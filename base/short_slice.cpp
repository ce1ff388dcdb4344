#include "base/short_slice.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace tristill {
namespace {

constexpr uint64_t kSliceNs = 100'000;  // the least that the kernel grants
constexpr uint64_t kResetOnFork = 1;    // SCHED_FLAG_RESET_ON_FORK

// As in linux/sched/types.h, which cannot be included beside sched.h with older C libraries.
struct SchedAttr {
  uint32_t size;
  uint32_t policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime;
  uint64_t deadline;
  uint64_t period;
};

}  // namespace

void take_short_slices() {
  SchedAttr attr{};
  if (syscall(SYS_sched_getattr, 0, &attr, sizeof attr, 0) != 0) return;
  attr.size = sizeof attr;
  attr.flags = kResetOnFork;
  attr.runtime = kSliceNs;
  // Refused by a sandbox: then slices are as long as those of others.
  static_cast<void>(syscall(SYS_sched_setattr, 0, &attr, 0));
}

}  // namespace tristill
