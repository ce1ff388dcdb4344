// Training a tokenizer: as a step of a train job, and as the runner of kind "tokenizer".
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "train/data/corpus.h"
#include "train/event_log.h"
#include "train/job/directory.h"
#include "train/job/job_file.h"
#include "train/run/outcome.h"

namespace tristill::train {

// The serialized model, trained on what is not held out and kept in the job's directory, where it
// is found again by a run that goes on. Errors: invalid_argument, param tokenizer.
Result<std::string> train_tokenizer(const job::JobDirectory& directory,
                                    const std::vector<Corpus>& corpora,
                                    const job::TokenizerSpec& spec, EventLog& events);

Result<Outcome> run_tokenizer(const job::JobDirectory& directory, const job::JobFile& file,
                              EventLog& events);

}  // namespace tristill::train
