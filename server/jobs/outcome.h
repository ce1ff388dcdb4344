// What a worker's end means for its job. Pure decisions; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "server/jobs/store.h"
#include "train/job/event.h"
#include "train/job/state.h"

namespace tristill::jobs {

// How a process ended, as far as the daemon can know: an adopted worker is not its child.
struct ProcessEnd {
  std::optional<int> exit_code;
  std::optional<int> signal;
};

// "exited with code 70 (a defect of the worker)", "was killed by signal 9 (SIGKILL, ...)".
std::string in_words(const ProcessEnd& end);

// Retries after the first death, as long as no checkpoint lies between two deaths.
inline constexpr int64_t kMaxRetries = 3;

enum class NextStep {
  finish,  // what was to be made is there: serve a model, then succeeded
  queue,    // once more, from the newest checkpoint
  pause,    // waits for a person; its failure says for what
  fail,
  cancel,
};

struct Verdict {
  NextStep next = NextStep::fail;
  std::string message;    // for the status event
  JobFailure failure;     // set with fail and pause
  int64_t failures = 0;   // the job's count from now on
};

// job as it is when its worker has ended and all its events are stored; result: the attempt's
// last result event.
Verdict judge(const Job& job, const std::optional<job::Event>& result, const ProcessEnd& end);

}  // namespace tristill::jobs
