// The traces of a train job as one source, with the teacher's distributions.
#pragma once

#include <vector>

#include "base/result.h"
#include "train/data/packing.h"
#include "train/job/data_manifest.h"
#include "train/job/job_file.h"

namespace tristill::train {

struct TrainingTraces {
  TokenSource source;  // no documents when the job names no traces
  std::vector<job::ManifestLine> files;
  std::vector<size_t> ends;  // how many documents of the source the files up to each have
};

// Errors, param data.traces: invalid_argument for traces of another tokenizer, or that the loss
// cannot learn from; corrupt for a damaged shard and for tokens outside the vocabulary.
Result<TrainingTraces> read_training_traces(const job::JobFile& file, const Tokenizer& tokenizer);

}  // namespace tristill::train
