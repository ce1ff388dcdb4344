// What a job says about its data: the objects "data" and "tokenizer" of the specification, in JSON
// and as structs. Pure; any thread.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace tristill::job {

class Fields;

enum class CorpusFormat {
  files,  // a file is a document
  jsonl,  // a line is one: chat, instruction or text, see train/trace/sample.h
};

// A named directory of files. Names, not paths: the daemon maps them under its data root
// (DATA/corpora/NAME); "python-stdlib" is the standard library of the machine's python3.
struct CorpusSource {
  std::string name;
  CorpusFormat format = CorpusFormat::files;
  std::vector<std::string> extensions = {".py"};  // where none are given, of jsonl ".jsonl"
  double weight = 1.0;  // relative share of batches
};

struct TokenizerSpec {
  std::string from_model;      // take that served model's
  std::string from_job;        // or that of a tokenizer job, by its id
  std::string from_weights;    // or that of published weights; all empty: train one
  uint32_t vocab_size = 4096;  // when trained

  bool is_trained() const { return from_model.empty() && from_job.empty() && from_weights.empty(); }
};

struct DataSpec {
  std::vector<CorpusSource> corpora;
  std::vector<std::string> traces;  // names given to POST /traces?name=
  double trace_weight = 1.0;        // share of trace batches against the corpora's weights
  double fim_rate = 0.5;            // share of documents turned to fill-in-the-middle
  double spm_rate = 0.5;            // of those, the share in SPM order
  double held_out = 0.05;  // share of documents kept for validation, by hash: data/corpus.h
  double near_duplicate = 0.8;  // resemblance from which a copy of a held-out one is left out
  std::vector<std::string> licenses;  // SPDX ids whose files are taken, or "unknown"; empty: all
};

// A field that names something under the data root.
void read_name(Fields& fields, const char* field, std::string& target);

void read_corpus(Fields& fields, CorpusSource& source);
void read_data(Fields& fields, DataSpec& data);
void read_tokenizer(Fields& fields, TokenizerSpec& tokenizer);

// Defaults filled in.
nlohmann::json corpus_json(const CorpusSource& source);
nlohmann::json data_json(const DataSpec& data);
nlohmann::json tokenizer_json(const TokenizerSpec& tokenizer);

}  // namespace tristill::job
