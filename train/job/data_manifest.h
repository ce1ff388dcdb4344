// data-manifest.jsonl in a job's directory: one line for each file that the job looked at, so that
// what a model was trained on can be checked years later. Its sha256 is what the model's provenance
// carries as data_manifest_sha256. Plain data and its JSON; any thread.
#pragma once

#include <cstdint>
#include <string>

namespace tristill::job {

struct ManifestLine {
  enum class Split {
    train,
    held_out,
    mixed,  // a JSON Lines file, whose lines are split
    skipped,
  };
  std::string corpus;  // its name, or "traces"
  std::string path;  // relative to the corpus; of traces the shard's name
  std::string sha256;  // of the bytes; empty where they were too many to read
  uint64_t bytes = 0;
  std::string license;  // SPDX expression, or "unknown"; empty for traces
  Split split = Split::train;
  std::string reason;  // of skipped: size, not_text, license, duplicate, near_duplicate
  // Of JSON Lines; written where one is not 0.
  uint64_t train_samples = 0, held_out_samples = 0, duplicates = 0, near_duplicates = 0;
};

// One line with its newline; fields that are empty are left out.
std::string format_manifest_line(const ManifestLine& line);

}  // namespace tristill::job
