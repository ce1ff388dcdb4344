// What a job is told to do: the body of POST /jobs as checked structs. Torch-free; the daemon
// validates with it, the worker reads job.json with it. A TrainSpec is proof that its values are
// valid in themselves; whether named data exists is the daemon's to check.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/config.h"
#include "train/job/loss_spec.h"
#include "train/job/optimizer_spec.h"

namespace tristill::job {

// A named directory of source files. Names, not paths: the daemon maps them under its data root
// (DATA/corpora/NAME); "python-stdlib" is the standard library of the machine's python3.
struct CorpusSource {
  std::string name;
  std::vector<std::string> extensions = {".py"};
  double weight = 1.0;  // relative share of batches
};

struct TokenizerSpec {
  std::string from_model;      // take that served model's; empty: train one
  uint32_t vocab_size = 4096;  // when trained
};

struct DataSpec {
  std::vector<CorpusSource> corpora;
  std::vector<std::string> traces;  // names given to POST /traces?name=
  double trace_weight = 1.0;        // share of trace batches against the corpora's weights
  double fim_rate = 0.5;            // share of documents turned to fill-in-the-middle
  double spm_rate = 0.5;            // of those, the share in SPM order
  double held_out = 0.05;           // share of files kept for validation, by hash of the path
};

struct BudgetSpec {
  std::optional<uint64_t> max_steps, max_tokens;
  std::optional<double> max_seconds;
};

// How the student quantises what its ternary layers take in. The output head always takes 8 bits.
struct QuantizationSpec {
  uint32_t activation_bits = 8;     // 8 or 4, from the first step on
  bool keep_a8_before_down = true;  // with 4 bits: the input of down_proj keeps 8
  // From 8 bits to 4 once so many labelled tokens were trained on: a number of them, or a share of
  // budget.max_tokens. At most one of the two.
  std::optional<uint64_t> flip_to_a4_at_tokens;
  std::optional<double> flip_to_a4_at_share;
  // Over so many first steps quantisation grows from none to whole: for weights of full precision.
  uint32_t lambda_warmup_steps = 0;
};

// Labelled tokens at which the job flips to 4 bits, if it does.
std::optional<uint64_t> flip_tokens(const QuantizationSpec& quantization, const BudgetSpec& budget);

enum class Precision { bf16, fp32 };

struct TrainSpec {
  std::string name;  // the model's name when done: [A-Za-z0-9._-]{1,64}
  ModelConfig model;
  QuantizationSpec quantization;
  bool quantized = true;  // false: full precision forward (a teacher), exported as int8
  TokenizerSpec tokenizer;
  DataSpec data;
  BudgetSpec budget;
  uint32_t batch_tokens = 8192;
  uint32_t sequence_length = 512;
  OptimizerSpec optimizer;
  HealthSpec health;
  LossSpec loss;
  Precision precision = Precision::bf16;
  std::string
      init_from;  // id of a job whose newest checkpoint gives the first weights; may be empty
  double init_scale = 1;  // of the matrices as they are drawn; small ones start dead
  uint64_t seed = 1;
  uint32_t threads = 0;  // 0: one a core
  double checkpoint_seconds = 60;  // between rolling checkpoints
  uint32_t log_every = 10;  // steps between metric events
  uint32_t eval_tokens = 65536;  // of the held-out files, at the end and every eval_every
  uint32_t eval_every = 0;  // steps; 0: only at the end
};

// JSON text -> TrainSpec. Errors: invalid_argument with the field's path ("data.fim_rate"),
// unknown fields included. The "kind" key must be "train".
Result<TrainSpec> parse_train_spec(std::string_view json);

// The complete spec, defaults filled in, as JSON text: what is stored and shown.
std::string format_train_spec(const TrainSpec& spec);

// JSON object -> ModelConfig (the files in configs/models/). Used by the spec above.
Result<ModelConfig> parse_model_config(std::string_view json);
std::string format_model_config(const ModelConfig& config);

// job.json: what the daemon leaves in the job's directory for the worker.
struct ResolvedCorpus {
  CorpusSource source;
  std::string path;  // absolute
};
struct JobFile {
  std::string id;  // "ftjob-..."
  TrainSpec train;
  std::vector<ResolvedCorpus> corpora;
  std::vector<std::string> trace_shards;  // absolute paths
  std::string tokenizer_model;  // absolute path of a model file; empty: train one
  std::string init_checkpoints;  // absolute path of another job's checkpoints; or empty
};
Result<JobFile> parse_job_file(std::string_view json);
std::string format_job_file(const JobFile& file);

}  // namespace tristill::job
