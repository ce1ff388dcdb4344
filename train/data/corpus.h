// Corpora: directories of files as documents, de-duplicated and split into training and held-out
// ones by a hash, so that the split never moves: of source files a hash of the relative path; of
// JSON Lines a hash of what comes before the first answer, or of the text, so that the answers to
// one question stay on one side. Deterministic: files in path order. Any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "train/data/document.h"
#include "train/job/data_manifest.h"
#include "train/job/job_file.h"

namespace tristill::train {

constexpr size_t kMaxSourceFile = 512 << 10;      // larger ones are tables, not code
constexpr size_t kMaxLinesFile = size_t{1} << 30;  // of JSON Lines

struct SourceFile {
  std::string path;  // relative to the corpus
  uint64_t bytes = 0;
};

struct Corpus {
  std::vector<Document> documents;
  std::vector<job::ManifestLine> files;  // all that were looked at
};

struct CorpusOptions {
  double held_out = 0;
  std::vector<std::string> licenses = {};  // accepted; empty: all
  std::function<void(uint64_t bytes)> on_read = {};  // called for each file
};

// The files with the wanted extensions, sorted. Links are not followed; folders named __pycache__,
// .git and node_modules are passed over. Errors: not_found for a missing directory;
// invalid_argument when there is no such file.
Result<std::vector<SourceFile>> list_files(const job::ResolvedCorpus& corpus);

// Reads what was listed. A file is left out, and its line of the manifest says why, when it is
// larger than kMaxSourceFile (not of JSON Lines), is no UTF-8 text, stands under another licence
// than those accepted, or has the normalised text of an earlier one. Errors: invalid_argument,
// param data.corpora: nothing is left to train on, or a bad line of JSON Lines, named "corpus NAME:
// FILE line N: ...", or a file of them larger than kMaxLinesFile; unavailable with the path when a
// file cannot be read.
Result<Corpus> read_corpus(const job::ResolvedCorpus& corpus, const std::vector<SourceFile>& files,
                           const CorpusOptions& options);

// What tells duplicates: line ends are LF, blanks at the ends of lines and blank lines at the
// text's ends do not count.
std::string normalised_text(std::string_view text);

// Whether what has this name is held out: the first 8 bytes of sha256(name) as a share of 2^64.
bool is_held_out(std::string_view name, double share);

}  // namespace tristill::train
