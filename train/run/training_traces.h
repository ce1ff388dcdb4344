// The traces of a train job as one source, with the teacher's distributions.
#pragma once

#include <vector>

#include "base/result.h"
#include "train/data/held_out_text.h"
#include "train/data/packing.h"
#include "train/job/data_manifest.h"
#include "train/job/job_file.h"

namespace tristill::train {

struct TrainingTraces {
  TokenSource source;  // no documents when the job names no traces
  std::vector<job::ManifestLine> files;
};

// Leaves out records of which data.near_duplicate or more stands in one held-out document, and
// counts them in the manifest. Errors, param data.traces: invalid_argument for traces of another
// tokenizer, or that the loss cannot learn from; corrupt for a damaged shard and for tokens outside
// the vocabulary.
Result<TrainingTraces> read_training_traces(const job::JobFile& file, const Tokenizer& tokenizer,
                                            const HeldOutText& held_out);

}  // namespace tristill::train
