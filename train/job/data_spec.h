// What a job says about its data: the objects "data" and "tokenizer" of the specification, in JSON
// and as structs. Pure; any thread.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace tristill::job {

class Fields;

// A named directory of source files. Names, not paths: the daemon maps them under its data root
// (DATA/corpora/NAME); "python-stdlib" is the standard library of the machine's python3.
struct CorpusSource {
  std::string name;
  std::vector<std::string> extensions = {".py"};
  double weight = 1.0;  // relative share of batches
};

struct TokenizerSpec {
  std::string from_model;      // take that served model's
  std::string from_job;        // or that of a tokenizer job, by its id; both empty: train one
  uint32_t vocab_size = 4096;  // when trained

  bool is_trained() const { return from_model.empty() && from_job.empty(); }
};

struct DataSpec {
  std::vector<CorpusSource> corpora;
  std::vector<std::string> traces;  // names given to POST /traces?name=
  double trace_weight = 1.0;        // share of trace batches against the corpora's weights
  double fim_rate = 0.5;            // share of documents turned to fill-in-the-middle
  double spm_rate = 0.5;            // of those, the share in SPM order
  double held_out = 0.05;           // share of files kept for validation, by hash of the path
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
