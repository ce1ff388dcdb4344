// What a job of kind "train" is told to do, as checked structs. Torch-free; the daemon validates
// with it, the worker reads job.json with it. A TrainSpec is proof that its values are valid in
// themselves; whether named data exists is the daemon's to check. Other kinds: job_spec.h.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "model/config.h"
#include "train/job/budget_spec.h"
#include "train/job/data_spec.h"
#include "train/job/lora_spec.h"
#include "train/job/loss_spec.h"
#include "train/job/model_spec.h"
#include "train/job/optimizer_spec.h"
#include "train/job/quantization_spec.h"
#include "train/job/teaching_spec.h"

namespace tristill::job {

// Of the products of the backward pass and of Muon; rescaling, sums and state are fp32. fp16 is for
// GPUs, with a loss scale: train/run/loss_scale.h, and what it refuses: train/job/precision_spec.h.
enum class Precision { bf16, fp32, fp16 };

// Where the student is trained; automatic ("auto"): on a CUDA device where there is one.
enum class TrainDevice { automatic, cpu, cuda };

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
  bool gradient_checkpointing = false;  // blocks run again in the backward pass
  uint32_t ranks = 1;  // processes that share the micro-batches: a power of two dividing them
  OptimizerSpec optimizer;
  HealthSpec health;
  LossSpec loss;
  TeachingSpec teaching;
  Precision precision = Precision::bf16;
  TrainDevice device = TrainDevice::automatic;
  std::string
      init_from;  // id of a job whose newest checkpoint gives the first weights; may be empty
  std::string init_from_weights;  // or name of a full-precision model's files in DATA/weights
  std::optional<LoraSpec> lora;  // the first weights stay as they are, and are adapted
  double init_scale = 1;  // of the matrices as they are drawn; small ones start dead
  uint64_t seed = 1;
  uint32_t threads = 0;  // 0: one a core
  double checkpoint_seconds = 60;  // between rolling checkpoints
  uint32_t checkpoint_steps = 0;  // between checkpoints that are kept for good; 0: none are
  uint32_t log_every = 10;  // steps between metric events
  uint32_t eval_tokens = 65536;  // of the held-out files, at the end and every eval_every
  uint32_t eval_every = 0;  // steps; 0: only at the end
};

// JSON text -> TrainSpec. Errors: invalid_argument with the field's path ("data.fim_rate"),
// unknown fields included. The "kind" key must be "train".
Result<TrainSpec> parse_train_spec(std::string_view json);
// Refuses settings of a new job that would do nothing, or not what they are for; one that is stored
// may have them, of an earlier version. Defaults are no setting. Errors: likewise.
Result<void> check_idle(const TrainSpec& spec);
Result<TrainSpec> read_train_spec(const nlohmann::json& object);

// The complete spec, defaults filled in, as JSON text: what is stored and shown.
std::string format_train_spec(const TrainSpec& spec);
nlohmann::json train_json(const TrainSpec& spec);

}  // namespace tristill::job
