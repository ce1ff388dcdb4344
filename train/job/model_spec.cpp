#include "train/job/model_spec.h"

#include "train/job/fields.h"

namespace tristill::job {

using nlohmann::json;

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

}  // namespace tristill::job
