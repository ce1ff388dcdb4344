// The runner of kind "train": data -> student -> loss -> optimiser -> checkpoints -> model file.
#pragma once

#include <atomic>

#include "base/result.h"
#include "train/event_log.h"
#include "train/job/directory.h"
#include "train/job/job_file.h"
#include "train/run/outcome.h"

namespace tristill::train {

// Resumes from the newest whole checkpoint of the directory when there is one. Returns
// interrupted after a checkpoint once stop is set, paused when its health asks for a person. Errors
// are the caller's to report; anything thrown ends the job.
Result<Outcome> run_train(const job::JobDirectory& directory, const job::JobFile& file,
                          EventLog& events, const std::atomic<bool>& stop);

}  // namespace tristill::train
