// The life of a job as a table: which state may follow which. Pure; any thread.
// Not who moves a job (server/jobs/supervisor) nor where its state is kept (server/jobs/store).
#pragma once

#include <array>
#include <optional>
#include <string_view>

namespace tristill::job {

// Spelled as on the wire.
enum class JobState {
  queued,      // waits for a worker; also after an interruption
  running,     // has a worker, or had one when the daemon ended
  pausing,     // its worker was asked to stop and keep everything
  paused,      // waits for a person
  succeeded,   // its model is served
  failed,      // says why in its error
  cancelling,  // its worker was asked to stop
  cancelled,   // ended by a person
};

inline constexpr std::array kJobStates = {
    JobState::queued,    JobState::running, JobState::pausing,    JobState::paused,
    JobState::succeeded, JobState::failed,  JobState::cancelling, JobState::cancelled,
};

std::string_view to_string(JobState state);
std::optional<JobState> parse_job_state(std::string_view name);

// Whether a job may go from one state to the other in one step.
bool may_become(JobState from, JobState to);

// Nothing happens to the job any more unless a person resumes it.
bool is_final(JobState state);

// A worker may be alive for the job.
bool has_worker(JobState state);

// What a person's wish makes of a job; nothing when the state forbids it.
std::optional<JobState> after_cancel(JobState state);
std::optional<JobState> after_resume(JobState state);

}  // namespace tristill::job
