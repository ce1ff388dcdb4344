// Corpora: directories of source files as documents, de-duplicated and split into training and
// held-out files by a hash of the relative path, so that the split never moves. Deterministic:
// files in path order. Any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "train/job/job_file.h"

namespace tristill::train {

struct Document {
  std::string path;  // relative to the corpus
  std::string text;
  bool held_out = false;
};

struct CorpusSummary {
  uint64_t files = 0, bytes = 0;
  uint64_t held_out_files = 0, held_out_bytes = 0;
  uint64_t skipped_duplicate = 0, skipped_size = 0, skipped_not_text = 0;
  std::string manifest_sha256;  // over "sha256  path" lines of what was kept
};

struct Corpus {
  std::vector<Document> documents;
  CorpusSummary summary;
};

constexpr size_t kMaxSourceFile = 512 << 10;  // larger ones are tables, not code

// Errors: not_found for a missing directory; invalid_argument when no file with the extensions is
// found; unavailable with the path when a file cannot be read. Links are not followed; folders
// named __pycache__, .git and node_modules are passed over.
Result<Corpus> read_corpus(const job::ResolvedCorpus& corpus, double held_out);

// Whether a file is held out: the first 8 bytes of sha256(path) as a share of 2^64.
bool is_held_out(const std::string& path, double share);

}  // namespace tristill::train
