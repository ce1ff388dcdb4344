// The documents of a job: its corpora read, licences and duplicates sorted out, near copies
// of held-out documents removed from what is trained on.
#pragma once

#include <vector>

#include "base/result.h"
#include "train/data/corpus.h"
#include "train/event_log.h"
#include "train/job/job_file.h"

namespace tristill::train {

// One corpus for each that the job names, in its order; data is its specification's. Tells
// progress, and of each corpus what was kept, what was left out and why, and the files of each
// licence. Errors: those of data/corpus.h;
// invalid_argument, param data.near_duplicate, when that leaves a corpus empty.
Result<std::vector<Corpus>> read_training_corpora(const job::JobFile& file,
                                                  const job::DataSpec& data, EventLog& events);

}  // namespace tristill::train
