#include "train/job/state.h"

namespace tristill::job {

std::string_view to_string(JobState state) {
  switch (state) {
    case JobState::queued: return "queued";
    case JobState::running: return "running";
    case JobState::pausing: return "pausing";
    case JobState::paused: return "paused";
    case JobState::succeeded: return "succeeded";
    case JobState::failed: return "failed";
    case JobState::cancelling: return "cancelling";
    case JobState::cancelled: return "cancelled";
  }
  return "failed";
}

std::optional<JobState> parse_job_state(std::string_view name) {
  for (const JobState state : kJobStates) {
    if (to_string(state) == name) return state;
  }
  return std::nullopt;
}

bool may_become(JobState from, JobState to) {
  switch (from) {
    case JobState::queued:
      return to == JobState::running || to == JobState::paused || to == JobState::cancelled ||
             to == JobState::failed;
    case JobState::running:
      return to == JobState::queued || to == JobState::pausing || to == JobState::paused ||
             to == JobState::succeeded || to == JobState::failed || to == JobState::cancelling;
    case JobState::pausing:
      return to == JobState::paused || to == JobState::succeeded || to == JobState::failed ||
             to == JobState::cancelling;
    case JobState::paused: return to == JobState::queued || to == JobState::cancelled;
    case JobState::succeeded: return false;
    case JobState::failed: return to == JobState::queued;
    case JobState::cancelling:
      // Its model was already served when the wish came.
      return to == JobState::cancelled || to == JobState::succeeded;
    case JobState::cancelled: return to == JobState::queued;
  }
  return false;
}

bool is_final(JobState state) {
  return state == JobState::succeeded || state == JobState::failed || state == JobState::cancelled;
}

bool has_worker(JobState state) {
  return state == JobState::running || state == JobState::pausing || state == JobState::cancelling;
}

std::optional<JobState> after_cancel(JobState state) {
  switch (state) {
    case JobState::queued:
    case JobState::paused: return JobState::cancelled;
    case JobState::running:
    case JobState::pausing:
    case JobState::cancelling: return JobState::cancelling;
    default: return std::nullopt;
  }
}

std::optional<JobState> after_resume(JobState state) {
  if (state == JobState::failed || state == JobState::cancelled || state == JobState::paused) {
    return JobState::queued;
  }
  return std::nullopt;
}

}  // namespace tristill::job
