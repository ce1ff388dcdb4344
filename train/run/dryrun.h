// The runner of kind "dryrun": what a train job would need, without its data. It predicts the
// memory of a training step; then, unless it is only to account, tries the packed forward pass with
// activations of 8 and of 4 bits and a training step, and compares what was predicted with what is
// measured, and the logits of the two. dryrun.json is the report.
#pragma once

#include <atomic>

#include "base/result.h"
#include "train/event_log.h"
#include "train/job/directory.h"
#include "train/job/job_file.h"
#include "train/run/outcome.h"

namespace tristill::train {

// Errors: resource_exhausted before anything is allocated when the prediction exceeds the memory
// that is free, saying both. Interrupted between two trials once stop is set.
Result<Outcome> run_dryrun(const job::JobDirectory& directory, const job::JobFile& file,
                           EventLog& events, const std::atomic<bool>& stop);

}  // namespace tristill::train
