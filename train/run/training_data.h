// What a train job learns from: the tokenizer and the tokenised sources, read or made.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/sha256.h"
#include "train/data/packing.h"
#include "train/event_log.h"
#include "train/job/directory.h"
#include "train/job/job_file.h"
#include "train/teach/teachers.h"

namespace tristill::train {

struct TrainingData {
  std::shared_ptr<const Tokenizer> tokenizer;
  std::vector<TokenSource> sources;
  TokenSource held_out;
  Teachers teachers;
  std::string manifest;  // the text of data-manifest.jsonl
  Sha256Digest manifest_digest{};
};

// Trains the tokenizer when none is given (kept in the job's directory, so a resumed run has the
// same). Errors name the field of the job: data.corpora,
// data.near_duplicate, data.traces, tokenizer. Teachers are on the device, all else is the CPU's.
Result<TrainingData> prepare_data(const job::JobDirectory& directory, const job::JobFile& file,
                                  torch::Device device, EventLog& events);

// Writes data-manifest.jsonl. Where an earlier run had other data, its place in them now means
// something else: warns, and leaves that run's as data-manifest.before.jsonl.
Result<void> keep_manifest(const job::JobDirectory& directory, const std::string& manifest,
                           EventLog& events);

}  // namespace tristill::train
