// Traces that would teach a student what it is judged by: of whose text data.near_duplicate or more
// stands in one held-out document, and in no training document, which teaches it anyhow.
#pragma once

#include <vector>

#include "model/tokenizer/tokenizer.h"
#include "train/data/corpus.h"
#include "train/run/training_traces.h"

namespace tristill::train {

// Removes them, counts them in the manifest's lines, and says how many there were.
size_t remove_leaked_traces(TrainingTraces& traces, const std::vector<Corpus>& corpora,
                            const Tokenizer& tokenizer, double threshold);

}  // namespace tristill::train
