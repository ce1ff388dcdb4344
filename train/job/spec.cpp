#include "train/job/spec.h"

#include <bit>

#include "train/job/fields.h"
#include "train/job/optimizer_fields.h"
#include "train/job/precision_spec.h"

namespace tristill::job {
namespace {

using nlohmann::json;

void read_train(Fields& fields, TrainSpec& spec) {
  std::string kind;
  fields.choice<std::string>("kind", {{"train", "train"}}, kind);
  fields.require("kind");
  read_name(fields, "name", spec.name);
  fields.require("name");
  fields.flag("quantized", spec.quantized);
  fields.object("model", [&](Fields& inner) {
    read_model(inner, spec.model);
    if (!spec.quantized) spec.model.weights = WeightKind::int8;
    else if (spec.model.weights == WeightKind::int8) {
      inner.refuse("weights", "ternary; int8 is for jobs with quantized false");
    }
    check_model(inner, spec.model);
  });
  fields.require("model");
  fields.object("tokenizer", [&](Fields& inner) { read_tokenizer(inner, spec.tokenizer); });
  fields.object("data", [&](Fields& inner) { read_data(inner, spec.data); });
  fields.object("budget", [&](Fields& inner) { read_budget(inner, spec.budget); });
  fields.object("quantization",
                [&](Fields& inner) { read_quantization(inner, spec.quantization); });
  read_lora(fields, spec.lora, spec.optimizer);
  fields.object("optimizer", [&](Fields& inner) { read_optimizer(inner, spec.optimizer); });
  fields.object("health", [&](Fields& inner) { read_health(inner, spec.health); });
  fields.object("loss", [&](Fields& inner) { read_loss(inner, spec.loss); });
  fields.object("teaching", [&](Fields& inner) { read_teaching(inner, spec.teaching); });
  read_precision(fields, spec.precision);
  fields.choice<TrainDevice>(
      "device",
      {{"auto", TrainDevice::automatic}, {"cpu", TrainDevice::cpu}, {"cuda", TrainDevice::cuda}},
      spec.device);
  read_name(fields, "init_from", spec.init_from);
  read_name(fields, "init_from_weights", spec.init_from_weights);
  fields.whole("batch_tokens", 16, 1 << 24, spec.batch_tokens);
  fields.whole("sequence_length", 16, 1 << 20, spec.sequence_length);
  fields.whole("micro_batches", 1, 1 << 16, spec.micro_batches);
  fields.flag("gradient_checkpointing", spec.gradient_checkpointing);
  fields.whole("ranks", 1, 1 << 10, spec.ranks);
  fields.real("init_scale", 1e-9, 1e3, spec.init_scale);
  fields.whole("seed", 0, int64_t{1} << 53, spec.seed);
  fields.whole("threads", 0, 1024, spec.threads);
  fields.real("checkpoint_seconds", 0, kMaxSeconds, spec.checkpoint_seconds);
  fields.whole("checkpoint_steps", 0, 1 << 30, spec.checkpoint_steps);
  fields.whole("log_every", 1, 1 << 20, spec.log_every);
  fields.whole("eval_tokens", 0, 1 << 30, spec.eval_tokens);
  fields.whole("eval_every", 0, 1 << 30, spec.eval_every);
}

// Gradients are summed as a binary tree over micro-batches, of which a rank has a whole branch.
Result<void> check_parts(const TrainSpec& spec) {
  if (!std::has_single_bit(spec.micro_batches)) {
    return wrong("micro_batches", "micro_batches is " + std::to_string(spec.micro_batches) +
                                      "; accepted is a power of two");
  }
  const uint32_t rows = spec.batch_tokens / spec.sequence_length;
  if (rows % spec.micro_batches != 0) {
    return wrong("micro_batches",
                 "micro_batches is " + std::to_string(spec.micro_batches) + " and a batch has " +
                     std::to_string(rows) +
                     " rows (batch_tokens / sequence_length); accepted is a power of two that "
                     "divides the rows");
  }
  if (!std::has_single_bit(spec.ranks) || spec.micro_batches % spec.ranks != 0) {
    return wrong("ranks", "ranks is " + std::to_string(spec.ranks) +
                              "; accepted is a power of two of at most micro_batches, which is " +
                              std::to_string(spec.micro_batches));
  }
  return {};
}

// Settings of a loss that compares with a teacher, where there is none.
Result<void> check_taught(const LossSpec& loss) {
  const auto refuse = [](const char* field) {
    return refused(field,
                   " is of the comparison with a teacher, and there is none; give data.traces or "
                   "teaching.teachers, or leave it out");
  };
  const DistillationSpec plain;
  const DistillationSpec& asked = loss.distillation;
  if (asked.divergence != plain.divergence) return refuse("loss.divergence");
  if (asked.temperature != plain.temperature) return refuse("loss.temperature");
  if (asked.tail != plain.tail) return refuse("loss.tail");
  return {};
}

// What a loss makes of teachers that say all.
Result<void> check_teachers(const TrainSpec& spec) {
  const bool taught = !spec.teaching.teachers.empty() || !spec.data.traces.empty();
  const bool by_nothing = spec.loss.ce_weight == 0 && spec.loss.kd_weight == 0;
  if (taught && by_nothing && spec.teaching.relation_weight == 0) {
    return wrong("loss.kd_weight",
                 "loss.kd_weight and loss.ce_weight are both 0: where a teacher is known nothing "
                 "would be learned; raise one of them");
  }
  if (spec.teaching.teachers.empty()) {
    return spec.data.traces.empty() ? check_taught(spec.loss) : Result<void>{};
  }
  if (spec.loss.kd_weight == 0 && spec.teaching.relation_weight == 0) {
    return wrong(
        "loss.kd_weight",
        "loss.kd_weight is 0 and teaching.relation_weight too: the teachers would be asked "
        "for nothing; raise one of them, or leave teaching out");
  }
  if (spec.gradient_checkpointing && spec.teaching.relation_weight > 0) {
    return wrong("gradient_checkpointing",
                 "gradient_checkpointing keeps no queries, keys and values, which "
                 "teaching.relation_weight compares; leave one of them out");
  }
  return {};
}

Result<void> check_first_weights(const TrainSpec& spec) {
  if (!spec.init_from.empty() && !spec.init_from_weights.empty()) {
    return wrong("init_from_weights",
                 "init_from_weights and init_from both give the first weights; leave one out");
  }
  const bool given = !spec.init_from.empty() || !spec.init_from_weights.empty();
  if (given && spec.init_scale != 1) {
    return wrong("init_scale",
                 "init_scale is for weights that are drawn, and " +
                     std::string(spec.init_from.empty() ? "init_from_weights" : "init_from") +
                     " gives them; leave one out");
  }
  return {};
}

// Fields that are right alone but wrong together.
Result<void> check_together(const TrainSpec& spec) {
  if (spec.data.corpora.empty() && spec.data.traces.empty()) {
    return wrong("data", "data names neither corpora nor traces; give at least one");
  }
  if (!spec.budget.max_steps && !spec.budget.max_tokens && !spec.budget.max_seconds) {
    return wrong("budget", "budget is empty; give max_steps, max_tokens or max_seconds");
  }
  if (spec.sequence_length > spec.model.max_context) {
    return wrong(
        "sequence_length",
        "sequence_length is larger than model.max_context; lower the one or raise the other");
  }
  if (spec.sequence_length > spec.batch_tokens) {
    return wrong(
        "batch_tokens",
        "batch_tokens is smaller than sequence_length; a batch has one row at least: raise it");
  }
  if (auto ok = check_parts(spec); !ok) return ok;
  if (auto ok = check_teachers(spec); !ok) return ok;
  if (auto ok = check_precision(spec); !ok) return ok;
  if (auto ok = check_lora(spec); !ok) return ok;
  if (auto ok = check_optimizer(spec.optimizer, spec.quantized); !ok) return ok;
  if (auto ok = check_first_weights(spec); !ok) return ok;
  if (spec.optimizer.fogzo_beta < 1 && spec.teaching.relation_weight > 0) {
    return wrong("optimizer.fogzo_beta",
                 "optimizer.fogzo_beta compares losses of tokens, which "
                 "teaching.relation_weight's is not; leave one of them out");
  }
  const bool trained = spec.tokenizer.is_trained();
  const uint32_t padded = (spec.tokenizer.vocab_size + 63) / 64 * 64;
  if (trained &&
      (spec.model.vocab_size < spec.tokenizer.vocab_size || spec.model.vocab_size > padded)) {
    return wrong("model.vocab_size",
                 "model.vocab_size is " + std::to_string(spec.model.vocab_size) +
                     ", tokenizer.vocab_size " + std::to_string(spec.tokenizer.vocab_size) +
                     "; accepted is the same number, or it rounded up to a multiple of 64");
  }
  if (trained && spec.data.corpora.empty()) {
    return wrong("tokenizer.from_model",
                 "a tokenizer is trained on corpora and none is named; "
                 "give tokenizer.from_model, from_job or from_weights");
  }
  return check_quantization(spec.quantization, spec.budget, spec.model, spec.quantized);
}

const char* name_of(TrainDevice device) {
  switch (device) {
    case TrainDevice::cpu: return "cpu";
    case TrainDevice::cuda: return "cuda";
    case TrainDevice::automatic: break;
  }
  return "auto";
}

}  // namespace

Result<TrainSpec> read_train_spec(const json& object) {
  Fields fields(object, "");
  TrainSpec spec;
  read_train(fields, spec);
  fields.finish();
  if (fields.failed()) return fields.error();
  if (auto ok = check_together(spec); !ok) return ok.error();
  return spec;
}

Result<TrainSpec> parse_train_spec(std::string_view text) {
  const auto object = parse_json_object(text);
  if (!object) return object.error();
  return read_train_spec(*object);
}

Result<void> check_idle(const TrainSpec& spec) {
  if (!spec.init_from_weights.empty() && spec.tokenizer.is_trained()) {
    return wrong("tokenizer.from_weights",
                 "the weights of init_from_weights know one vocabulary, and a tokenizer that is "
                 "trained has another; give tokenizer.from_weights, from_model or from_job");
  }
  if (const uint32_t over = spec.batch_tokens % spec.sequence_length; over != 0) {
    return wrong("batch_tokens", "batch_tokens is " + std::to_string(spec.batch_tokens) +
                                     " and rows have sequence_length " +
                                     std::to_string(spec.sequence_length) +
                                     "; accepted is a multiple of that, such as " +
                                     std::to_string(spec.batch_tokens - over));
  }
  if (spec.eval_every > 0 && spec.eval_tokens == 0) {
    return wrong("eval_every",
                 "eval_every does nothing with eval_tokens 0; raise that, or leave this out");
  }
  const DataSpec plain;
  if (spec.data.traces.empty() && spec.data.trace_weight != plain.trace_weight) {
    return wrong("data.trace_weight",
                 "data.trace_weight does nothing without data.traces; give some, or leave it out");
  }
  const double resemblance = spec.data.near_duplicate;
  if (spec.data.held_out == 0 && resemblance > 0 && resemblance != plain.near_duplicate) {
    return wrong("data.near_duplicate",
                 "data.near_duplicate compares with held-out files, and data.held_out is 0; raise "
                 "that, or leave this out");
  }
  const HealthSpec usual;
  if (spec.health.action == HealthAction::warn &&
      spec.health.patience_steps != usual.patience_steps) {
    return wrong("health.patience_steps",
                 "health.patience_steps does nothing with health.action warn, which only logs; "
                 "set that to stop, or leave this out");
  }
  const WeightRule rule = spec.quantization.weights;
  if (spec.optimizer.norm_pinning && (rule == WeightRule::lsq || rule == WeightRule::seq)) {
    return wrong(
        "optimizer.norm_pinning",
        "optimizer.norm_pinning scales weights alone, and quantization.weights lsq and seq "
        "learn their scale apart, so that ternary values would change by it; set it to false, "
        "or quantization.weights to absmean, twn or tequila");
  }
  return {};
}

nlohmann::json train_json(const TrainSpec& s) {
  json out = {{"kind", "train"},
              {"name", s.name},
              {"model", model_json(s.model)},
              {"quantized", s.quantized},
              {"quantization", quantization_json(s.quantization)},
              {"tokenizer", tokenizer_json(s.tokenizer)},
              {"data", data_json(s.data)},
              {"budget", budget_json(s.budget)},
              {"batch_tokens", s.batch_tokens},
              {"sequence_length", s.sequence_length},
              {"micro_batches", s.micro_batches},
              {"gradient_checkpointing", s.gradient_checkpointing},
              {"ranks", s.ranks},
              {"optimizer", optimizer_json(s.optimizer)},
              {"health", health_json(s.health)},
              {"loss", loss_json(s.loss)},
              {"teaching", teaching_json(s.teaching)},
              {"precision", to_string(s.precision)},
              {"device", name_of(s.device)},
              {"init_scale", s.init_scale},
              {"seed", s.seed},
              {"threads", s.threads},
              {"checkpoint_seconds", s.checkpoint_seconds},
              {"checkpoint_steps", s.checkpoint_steps},
              {"log_every", s.log_every},
              {"eval_tokens", s.eval_tokens},
              {"eval_every", s.eval_every}};
  if (s.lora) out["lora"] = lora_json(*s.lora);
  if (!s.init_from.empty()) out["init_from"] = s.init_from;
  if (!s.init_from_weights.empty()) out["init_from_weights"] = s.init_from_weights;
  return out;
}

std::string format_train_spec(const TrainSpec& spec) { return train_json(spec).dump(); }

}  // namespace tristill::job
