// Scheduling of threads that do little and are waited for, beside others that compute without end.
#pragma once

namespace tristill {

// Asks the kernel to let the calling thread run as soon as it wakes: its slices are short ones
// (sched_attr::sched_runtime of SCHED_OTHER, which Linux knows since 6.12). Elsewhere without
// effect. Needs no rights. Threads and processes that it starts have usual slices.
void take_short_slices();

}  // namespace tristill
