#include "train/job/spec.h"

#include <cmath>

#include "base/name.h"
#include "train/job/fields.h"
#include "train/job/optimizer_fields.h"

namespace tristill::job {
namespace {

using nlohmann::json;

constexpr double kMaxSeconds = 3.2e7;  // a year

void read_name(Fields& fields, const char* field, std::string& target) {
  fields.text(field, target);
  if (fields.has(field) && !is_name(target)) {
    fields.refuse(field, std::string(kAcceptedNames));
  }
}

void read_model(Fields& fields, ModelConfig& c) {
  fields.whole("n_layers", 1, 512, c.n_layers);
  fields.whole("d_model", 16, 65536, c.d_model);
  fields.whole("d_ff", 16, 262144, c.d_ff);
  fields.whole("n_heads", 1, 1024, c.n_heads);
  fields.whole("n_kv_heads", 1, 1024, c.n_kv_heads);
  fields.whole("head_dim", 2, 1024, c.head_dim);
  fields.whole("vocab_size", 2, 1 << 21, c.vocab_size);
  fields.whole("max_context", 1, 1 << 22, c.max_context);
  fields.whole("sliding_window", 0, 1 << 22, c.sliding_window);
  fields.real("rope_theta", 1, 1e12, c.rope_theta);
  fields.real("norm_eps", 1e-12, 0.1, c.norm_eps);
  fields.real("logit_softcap", 0, 1e4, c.logit_softcap);
  fields.real("attention_softcap", 0, 1e4, c.attention_softcap);
  fields.choice<Activation>(
      "activation", {{"swiglu", Activation::swiglu}, {"squared_relu", Activation::squared_relu}},
      c.activation);
  fields.choice<WeightKind>(
      "weights", {{"ternary", WeightKind::ternary}, {"int8", WeightKind::int8}}, c.weights);
  fields.flag("ternary_attention", c.ternary_attention);
  fields.flag("ternary_mlp", c.ternary_mlp);
  fields.flag("qk_norm", c.qk_norm);
  fields.flag("sub_norm", c.sub_norm);
  fields.flag("tied_embeddings", c.tied_embeddings);
  for (const char* field : {"n_layers", "d_model", "d_ff", "n_heads", "n_kv_heads", "head_dim",
                            "vocab_size", "max_context"}) {
    fields.require(field);
  }
}

void check_model(Fields& fields, const ModelConfig& config) {
  if (fields.failed()) return;
  const auto ok = check_config(config);
  if (!ok) fields.fail(ok.error().param, ok.error().message);
}

void read_corpus(Fields& fields, CorpusSource& source) {
  read_name(fields, "name", source.name);
  fields.require("name");
  fields.real("weight", 1e-6, 1e6, source.weight);
  fields.texts("extensions", 64, source.extensions);
  for (const std::string& extension : source.extensions) {
    if (extension.size() < 2 || extension.front() != '.') {
      fields.refuse("extensions", "a list of file name endings such as \".py\"");
    }
  }
}

void read_data(Fields& fields, DataSpec& data) {
  fields.objects("corpora", 64, [&](Fields& inner) {
    CorpusSource source;
    read_corpus(inner, source);
    data.corpora.push_back(std::move(source));
  });
  fields.texts("traces", 64, data.traces);
  for (const std::string& name : data.traces) {
    if (!is_name(name)) fields.refuse("traces", "a list of names of trace sets");
  }
  fields.real("trace_weight", 1e-6, 1e6, data.trace_weight);
  fields.real("fim_rate", 0, 1, data.fim_rate);
  fields.real("spm_rate", 0, 1, data.spm_rate);
  fields.real("held_out", 0, 0.9, data.held_out);
}

void read_budget(Fields& fields, BudgetSpec& budget) {
  if (fields.has("max_steps"))
    fields.whole("max_steps", 1, int64_t{1} << 40, budget.max_steps.emplace());
  if (fields.has("max_tokens"))
    fields.whole("max_tokens", 1, int64_t{1} << 50, budget.max_tokens.emplace());
  if (fields.has("max_seconds"))
    fields.real("max_seconds", 0.1, kMaxSeconds, budget.max_seconds.emplace());
}

void read_quantization(Fields& fields, QuantizationSpec& quantization) {
  fields.whole("activation_bits", 4, 8, quantization.activation_bits);
  if (quantization.activation_bits != 8 && quantization.activation_bits != 4) {
    fields.refuse("activation_bits", "8, 4");
  }
  fields.flag("keep_a8_before_down", quantization.keep_a8_before_down);
  if (fields.has("flip_to_a4_at_tokens")) {
    fields.whole("flip_to_a4_at_tokens", 1, int64_t{1} << 50,
                 quantization.flip_to_a4_at_tokens.emplace());
  }
  if (fields.has("flip_to_a4_at_share")) {
    fields.real("flip_to_a4_at_share", 1e-6, 1, quantization.flip_to_a4_at_share.emplace());
  }
  fields.whole("lambda_warmup_steps", 0, 1 << 30, quantization.lambda_warmup_steps);
}

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
  fields.object("tokenizer", [&](Fields& inner) {
    read_name(inner, "from_model", spec.tokenizer.from_model);
    inner.whole("vocab_size", 300, 1 << 18, spec.tokenizer.vocab_size);
  });
  fields.object("data", [&](Fields& inner) { read_data(inner, spec.data); });
  fields.object("budget", [&](Fields& inner) { read_budget(inner, spec.budget); });
  fields.object("quantization",
                [&](Fields& inner) { read_quantization(inner, spec.quantization); });
  fields.object("optimizer", [&](Fields& inner) { read_optimizer(inner, spec.optimizer); });
  fields.object("health", [&](Fields& inner) { read_health(inner, spec.health); });
  fields.object("loss", [&](Fields& inner) { read_loss(inner, spec.loss); });
  fields.choice<Precision>("precision", {{"bf16", Precision::bf16}, {"fp32", Precision::fp32}},
                           spec.precision);
  read_name(fields, "init_from", spec.init_from);
  fields.whole("batch_tokens", 16, 1 << 24, spec.batch_tokens);
  fields.whole("sequence_length", 16, 1 << 20, spec.sequence_length);
  fields.real("init_scale", 1e-9, 1e3, spec.init_scale);
  fields.whole("seed", 0, int64_t{1} << 53, spec.seed);
  fields.whole("threads", 0, 1024, spec.threads);
  fields.real("checkpoint_seconds", 0, kMaxSeconds, spec.checkpoint_seconds);
  fields.whole("log_every", 1, 1 << 20, spec.log_every);
  fields.whole("eval_tokens", 0, 1 << 30, spec.eval_tokens);
  fields.whole("eval_every", 0, 1 << 30, spec.eval_every);
}

Error bad(const char* param, std::string message) {
  return Error{ErrorCode::invalid_argument, std::move(message), param};
}

Result<void> check_flip(const QuantizationSpec& q, const BudgetSpec& budget) {
  constexpr auto kTokens = "quantization.flip_to_a4_at_tokens";
  constexpr auto kShare = "quantization.flip_to_a4_at_share";
  if (q.flip_to_a4_at_tokens && q.flip_to_a4_at_share) {
    return bad(kShare, std::string(kShare) +
                           " and flip_to_a4_at_tokens both name the flip; "
                           "give one of them");
  }
  const char* given = q.flip_to_a4_at_tokens ? kTokens : kShare;
  if (!q.flip_to_a4_at_tokens && !q.flip_to_a4_at_share) return {};
  if (q.activation_bits == 4) {
    return bad(given, std::string(given) +
                          " flips from 8 bits to 4, but activation_bits is 4 "
                          "from the start; leave one of them out");
  }
  if (q.flip_to_a4_at_share && !budget.max_tokens) {
    return bad(kShare, std::string(kShare) +
                           " is a share of budget.max_tokens, which is not "
                           "given; give it, or flip_to_a4_at_tokens");
  }
  if (budget.max_tokens && *flip_tokens(q, budget) >= *budget.max_tokens) {
    return bad(given, std::string(given) +
                          " lies at or beyond budget.max_tokens: the job would "
                          "never train with 4 bits; lower it");
  }
  return {};
}

Result<void> check_quantization(const TrainSpec& spec) {
  const QuantizationSpec& q = spec.quantization;
  const bool flips = q.flip_to_a4_at_tokens || q.flip_to_a4_at_share;
  const bool four = q.activation_bits == 4 || flips;
  if (!spec.quantized && (four || !q.keep_a8_before_down || q.lambda_warmup_steps > 0)) {
    return bad("quantization",
               "quantization is for students that are quantised; leave it out, or "
               "set quantized to true");
  }
  if (auto ok = check_flip(q, spec.budget); !ok) return ok;
  if (!q.keep_a8_before_down && !four) {
    return bad("quantization.keep_a8_before_down",
               "quantization.keep_a8_before_down is false, but nothing has 4 bits; give "
               "activation_bits 4 or a flip, or leave it out");
  }
  if (!q.keep_a8_before_down && !spec.model.ternary_mlp) {
    return bad("quantization.keep_a8_before_down",
               "quantization.keep_a8_before_down is false, but down_proj is not ternary; leave it "
               "out, or set model.ternary_mlp to true");
  }
  if (spec.budget.max_steps && q.lambda_warmup_steps >= *spec.budget.max_steps &&
      q.lambda_warmup_steps > 0) {
    return bad("quantization.lambda_warmup_steps",
               "quantization.lambda_warmup_steps is not below budget.max_steps: no step would be "
               "wholly quantised; lower it");
  }
  return {};
}

// Fields that are right alone but wrong together.
Result<void> check_together(const TrainSpec& spec) {
  if (spec.data.corpora.empty() && spec.data.traces.empty()) {
    return bad("data", "data names neither corpora nor traces; give at least one");
  }
  if (!spec.budget.max_steps && !spec.budget.max_tokens && !spec.budget.max_seconds) {
    return bad("budget", "budget is empty; give max_steps, max_tokens or max_seconds");
  }
  if (spec.sequence_length > spec.model.max_context) {
    return bad("sequence_length", "sequence_length is larger than model.max_context");
  }
  if (spec.sequence_length > spec.batch_tokens) {
    return bad("batch_tokens", "batch_tokens is smaller than sequence_length");
  }
  if (auto ok = check_optimizer(spec.optimizer, spec.quantized); !ok) return ok;
  if (!spec.init_from.empty() && spec.init_scale != 1) {
    return bad("init_scale",
               "init_scale is for weights that are drawn, and init_from gives them; leave one out");
  }
  const bool trained = spec.tokenizer.from_model.empty();
  const uint32_t padded = (spec.tokenizer.vocab_size + 63) / 64 * 64;
  if (trained &&
      (spec.model.vocab_size < spec.tokenizer.vocab_size || spec.model.vocab_size > padded)) {
    return bad("model.vocab_size",
               "model.vocab_size is " + std::to_string(spec.model.vocab_size) +
                   ", tokenizer.vocab_size " + std::to_string(spec.tokenizer.vocab_size) +
                   "; accepted is the same number, or it rounded up to a multiple of 64");
  }
  if (trained && spec.data.corpora.empty()) {
    return bad("tokenizer.from_model",
               "a tokenizer is trained on corpora and none is named; "
               "give tokenizer.from_model");
  }
  return check_quantization(spec);
}

json model_json(const ModelConfig& c) {
  return {{"n_layers", c.n_layers},
          {"d_model", c.d_model},
          {"d_ff", c.d_ff},
          {"n_heads", c.n_heads},
          {"n_kv_heads", c.n_kv_heads},
          {"head_dim", c.head_dim},
          {"vocab_size", c.vocab_size},
          {"max_context", c.max_context},
          {"sliding_window", c.sliding_window},
          {"rope_theta", c.rope_theta},
          {"norm_eps", c.norm_eps},
          {"logit_softcap", c.logit_softcap},
          {"attention_softcap", c.attention_softcap},
          {"activation", to_string(c.activation)},
          {"weights", to_string(c.weights)},
          {"ternary_attention", c.ternary_attention},
          {"ternary_mlp", c.ternary_mlp},
          {"qk_norm", c.qk_norm},
          {"sub_norm", c.sub_norm},
          {"tied_embeddings", c.tied_embeddings}};
}

json source_json(const CorpusSource& source) {
  return {{"name", source.name}, {"extensions", source.extensions}, {"weight", source.weight}};
}

json quantization_json(const QuantizationSpec& q) {
  json out = {{"activation_bits", q.activation_bits},
              {"keep_a8_before_down", q.keep_a8_before_down},
              {"lambda_warmup_steps", q.lambda_warmup_steps}};
  if (q.flip_to_a4_at_tokens) out["flip_to_a4_at_tokens"] = *q.flip_to_a4_at_tokens;
  if (q.flip_to_a4_at_share) out["flip_to_a4_at_share"] = *q.flip_to_a4_at_share;
  return out;
}

json train_json(const TrainSpec& s) {
  json corpora = json::array();
  for (const CorpusSource& source : s.data.corpora) corpora.push_back(source_json(source));
  json budget = json::object();
  if (s.budget.max_steps) budget["max_steps"] = *s.budget.max_steps;
  if (s.budget.max_tokens) budget["max_tokens"] = *s.budget.max_tokens;
  if (s.budget.max_seconds) budget["max_seconds"] = *s.budget.max_seconds;
  json tokenizer = {{"vocab_size", s.tokenizer.vocab_size}};
  if (!s.tokenizer.from_model.empty()) tokenizer["from_model"] = s.tokenizer.from_model;
  json out = {{"kind", "train"},
              {"name", s.name},
              {"model", model_json(s.model)},
              {"quantized", s.quantized},
              {"quantization", quantization_json(s.quantization)},
              {"tokenizer", tokenizer},
              {"data",
               {{"corpora", corpora},
                {"traces", s.data.traces},
                {"trace_weight", s.data.trace_weight},
                {"fim_rate", s.data.fim_rate},
                {"spm_rate", s.data.spm_rate},
                {"held_out", s.data.held_out}}},
              {"budget", budget},
              {"batch_tokens", s.batch_tokens},
              {"sequence_length", s.sequence_length},
              {"optimizer", optimizer_json(s.optimizer)},
              {"health", health_json(s.health)},
              {"loss", loss_json(s.loss)},
              {"precision", s.precision == Precision::bf16 ? "bf16" : "fp32"},
              {"init_scale", s.init_scale},
              {"seed", s.seed},
              {"threads", s.threads},
              {"checkpoint_seconds", s.checkpoint_seconds},
              {"log_every", s.log_every},
              {"eval_tokens", s.eval_tokens},
              {"eval_every", s.eval_every}};
  if (!s.init_from.empty()) out["init_from"] = s.init_from;
  return out;
}

Result<TrainSpec> train_from(const json& object) {
  Fields fields(object, "");
  TrainSpec spec;
  read_train(fields, spec);
  fields.finish();
  if (fields.failed()) return fields.error();
  if (auto ok = check_together(spec); !ok) return ok.error();
  return spec;
}

}  // namespace

std::optional<uint64_t> flip_tokens(const QuantizationSpec& quantization,
                                    const BudgetSpec& budget) {
  if (quantization.flip_to_a4_at_tokens) return quantization.flip_to_a4_at_tokens;
  if (!quantization.flip_to_a4_at_share || !budget.max_tokens) return std::nullopt;
  const double share = *quantization.flip_to_a4_at_share * static_cast<double>(*budget.max_tokens);
  return static_cast<uint64_t>(std::ceil(share));
}

Result<TrainSpec> parse_train_spec(std::string_view text) {
  const auto object = parse_json_object(text);
  if (!object) return object.error();
  return train_from(*object);
}

std::string format_train_spec(const TrainSpec& spec) { return train_json(spec).dump(); }

Result<ModelConfig> parse_model_config(std::string_view text) {
  const auto object = parse_json_object(text);
  if (!object) return object.error();
  Fields fields(*object, "");
  ModelConfig config;
  read_model(fields, config);
  check_model(fields, config);
  fields.finish();
  if (fields.failed()) return fields.error();
  return config;
}

std::string format_model_config(const ModelConfig& config) { return model_json(config).dump(2); }

Result<JobFile> parse_job_file(std::string_view text) {
  const auto object = parse_json_object(text);
  if (!object) return object.error();
  Fields fields(*object, "");
  JobFile file;
  std::optional<Error> train_error;
  fields.text("id", file.id);
  fields.require("id");
  if (const json* train = fields.raw("train")) {
    auto spec = train->is_object()
                    ? train_from(*train)
                    : Error{ErrorCode::invalid_argument, "train is no object", "train"};
    if (spec) file.train = std::move(*spec);
    else train_error = spec.error();
  }
  fields.require("train");
  fields.objects("corpora", 64, [&](Fields& inner) {
    ResolvedCorpus corpus;
    inner.object("source", [&](Fields& source) { read_corpus(source, corpus.source); });
    inner.text("path", corpus.path);
    inner.require("source");
    inner.require("path");
    file.corpora.push_back(std::move(corpus));
  });
  fields.texts("trace_shards", 4096, file.trace_shards);
  fields.text("tokenizer_model", file.tokenizer_model);
  fields.text("init_checkpoints", file.init_checkpoints);
  fields.finish();
  if (train_error) return *train_error;
  if (fields.failed()) return fields.error();
  return file;
}

std::string format_job_file(const JobFile& file) {
  json corpora = json::array();
  for (const ResolvedCorpus& corpus : file.corpora) {
    corpora.push_back({{"source", source_json(corpus.source)}, {"path", corpus.path}});
  }
  const json out = {{"id", file.id},
                    {"train", train_json(file.train)},
                    {"corpora", corpora},
                    {"trace_shards", file.trace_shards},
                    {"tokenizer_model", file.tokenizer_model},
                    {"init_checkpoints", file.init_checkpoints}};
  return out.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace tristill::job
