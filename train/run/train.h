// The runner of kind "train": data -> student -> loss -> optimiser -> checkpoints -> model file.
#pragma once

#include <atomic>

#include "base/result.h"
#include "train/distributed/rank_group.h"
#include "train/event_log.h"
#include "train/job/directory.h"
#include "train/job/job_file.h"
#include "train/run/outcome.h"

namespace tristill::train {

// Resumes from the newest whole checkpoint of the directory when there is one. Returns
// interrupted after a checkpoint once stop is set, paused when its health asks for a person. Errors
// are the caller's to report; anything thrown ends the job.
// As rank 0 of a group, which the others follow; or alone.
Result<Outcome> run_train(const job::JobDirectory& directory, const job::JobFile& file,
                          EventLog& events, const std::atomic<bool>& stop, RankGroup& ranks);
Result<Outcome> run_train(const job::JobDirectory& directory, const job::JobFile& file,
                          EventLog& events, const std::atomic<bool>& stop);

// As another rank: reads the job and its data, writes nothing; the exit code that rank 0 gave.
Result<int> follow_train(const job::JobDirectory& directory, const job::JobFile& file,
                         const std::atomic<bool>& stop, RankGroup& ranks);

}  // namespace tristill::train
