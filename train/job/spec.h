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
#include "train/job/budget_spec.h"
#include "train/job/data_spec.h"
#include "train/job/loss_spec.h"
#include "train/job/model_spec.h"
#include "train/job/optimizer_spec.h"
#include "train/job/quantization_spec.h"

namespace tristill::job {

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
  uint32_t micro_batches = 1;  // a power of two: parts of a batch that are in memory one at a time
  uint32_t ranks = 1;  // processes that share the micro-batches: a power of two dividing them
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
