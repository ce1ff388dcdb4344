#include "model/config.h"

#include <cmath>
#include <utility>

#include "model/ternary.h"

namespace tristill {
namespace {

constexpr uint32_t kTernaryStep = 64;  // what inner dimensions of ternary models are multiples of

Error bad(const char* field, const std::string& reason) {
  return {ErrorCode::invalid_argument, std::string(field) + " " + reason, field};
}

Result<void> check_range(const char* field, uint64_t value, uint64_t low, uint64_t high) {
  if (value >= low && value <= high) return {};
  return bad(field, "is " + std::to_string(value) + "; accepted is " + std::to_string(low) +
                        " to " + std::to_string(high));
}

// What is said of the ternary layers of a model that has some.
Result<void> check_ternary(const ModelConfig& c) {
  if (c.d_model % kTernaryStep != 0)
    return bad("d_model", "must be a multiple of 64 for ternary weights");
  if (c.d_ff % kTernaryStep != 0)
    return bad("d_ff", "must be a multiple of 64 for ternary weights");
  if (c.q_dim() % kTernaryStep != 0)
    return bad("n_heads", "times head_dim must be a multiple of 64 for ternary weights");
  if (!c.ternary_attention && !c.ternary_mlp) {
    return bad("ternary_mlp", "and ternary_attention are both false: give weights int8 instead");
  }
  return {};
}

Result<void> check_activations(const ModelConfig& c) {
  for (const auto& [field, bits] : {std::pair{"activation_bits", c.activation_bits},
                                    std::pair{"down_activation_bits", c.down_activation_bits}}) {
    if (bits != 8 && bits != 4)
      return bad(field, "is " + std::to_string(bits) + "; accepted are 8, 4");
  }
  if (c.down_activation_bits < c.activation_bits) {
    return bad("down_activation_bits", "must not be below activation_bits");
  }
  if (c.weights != WeightKind::ternary && c.activation_bits != 8) {
    return bad("activation_bits", "4 is for ternary weights; int8 weights take 8");
  }
  if (!c.ternary_mlp && c.down_activation_bits != 8) {
    return bad("down_activation_bits", "must be 8 where down_proj is not ternary");
  }
  return {};
}

}  // namespace

Result<void> check_config(const ModelConfig& c) {
  struct Range {
    const char* field;
    uint64_t value, low, high;
  };
  for (const Range& r :
       {Range{"n_layers", c.n_layers, 1, 512}, Range{"d_model", c.d_model, 16, 65536},
        Range{"d_ff", c.d_ff, 16, 262144}, Range{"n_heads", c.n_heads, 1, 1024},
        Range{"n_kv_heads", c.n_kv_heads, 1, 1024}, Range{"head_dim", c.head_dim, 2, 1024},
        Range{"vocab_size", c.vocab_size, 2, 1 << 21},
        Range{"max_context", c.max_context, 1, 1 << 22},
        Range{"sliding_window", c.sliding_window, 0, 1 << 22}}) {
    if (auto ok = check_range(r.field, r.value, r.low, r.high); !ok) return ok;
  }
  if (c.n_heads % c.n_kv_heads != 0) return bad("n_kv_heads", "does not divide n_heads");
  if (c.head_dim % 2 != 0) return bad("head_dim", "is odd; RoPE needs an even one");
  if (!std::isfinite(c.rope_theta) || c.rope_theta < 1)
    return bad("rope_theta", "must be at least 1");
  if (!std::isfinite(c.norm_eps) || c.norm_eps <= 0 || c.norm_eps > 0.1F) {
    return bad("norm_eps", "must be above 0 and at most 0.1");
  }
  if (!std::isfinite(c.logit_softcap) || c.logit_softcap < 0) {
    return bad("logit_softcap", "must be 0 (off) or positive");
  }
  if (auto ok = check_activations(c); !ok) return ok;
  if (!std::isfinite(c.attention_softcap) ||
      (c.attention_softcap != 0 &&
       !(c.attention_softcap >= 0.01F && c.attention_softcap <= 1e4F))) {
    return bad("attention_softcap", "must be 0 (off) or 0.01 to 10000");
  }
  if (c.weights == WeightKind::ternary) return check_ternary(c);
  if (!c.ternary_attention || !c.ternary_mlp) {
    return bad(c.ternary_attention ? "ternary_mlp" : "ternary_attention",
               "false is for ternary weights");
  }
  return {};
}

ParameterCounts count_parameters(const ModelConfig& c) {
  const uint64_t d = c.d_model;
  const uint64_t attention = (d * c.q_dim() * 2 + d * c.kv_dim() * 2) * c.n_layers;
  const uint64_t mlp = 3 * d * c.d_ff * c.n_layers;
  uint64_t norms = 2 * d;
  if (c.qk_norm) norms += 2 * c.head_dim;
  if (c.sub_norm) norms += c.q_dim() + c.d_ff;
  ParameterCounts counts;
  counts.linear = attention + mlp;
  counts.ternary = (c.attention_weights() == WeightKind::ternary ? attention : 0) +
                   (c.mlp_weights() == WeightKind::ternary ? mlp : 0);
  counts.embedding = d * c.vocab_size * (c.tied_embeddings ? 1 : 2);
  counts.norm = c.n_layers * norms + d;
  return counts;
}

uint64_t stored_bytes(const ModelConfig& c) {
  const auto matrix = [](WeightKind kind, uint64_t rows, uint64_t cols) {
    if (kind == WeightKind::int8) return rows * (cols + sizeof(float));
    return rows * ternary_blocks_of(cols) * kTernaryBlockBytes + sizeof(float);
  };
  const uint64_t d = c.d_model;
  const uint64_t attention = matrix(c.attention_weights(), c.q_dim(), d) +
                             matrix(c.attention_weights(), c.kv_dim(), d) * 2 +
                             matrix(c.attention_weights(), d, c.q_dim());
  const uint64_t mlp = matrix(c.mlp_weights(), c.d_ff, d) * 2 + matrix(c.mlp_weights(), d, c.d_ff);
  const uint64_t tables = c.tied_embeddings ? 1 : 2;
  return (attention + mlp) * c.n_layers + matrix(WeightKind::int8, c.vocab_size, d) * tables +
         count_parameters(c).norm * sizeof(float);
}

uint64_t kv_bytes_per_token(const ModelConfig& c) {
  return uint64_t{2} * c.kv_dim() * c.n_layers * sizeof(uint16_t);
}

std::string_view to_string(Activation activation) {
  return activation == Activation::swiglu ? "swiglu" : "squared_relu";
}

std::string_view to_string(WeightKind weights) {
  return weights == WeightKind::ternary ? "ternary" : "int8";
}

Result<Activation> parse_activation(std::string_view name) {
  if (name == "swiglu") return Activation::swiglu;
  if (name == "squared_relu") return Activation::squared_relu;
  return bad("activation", "is \"" + std::string(name) + "\"; accepted are swiglu, squared_relu");
}

Result<WeightKind> parse_weight_kind(std::string_view name) {
  if (name == "ternary") return WeightKind::ternary;
  if (name == "int8") return WeightKind::int8;
  return bad("weights", "is \"" + std::string(name) + "\"; accepted are ternary, int8");
}

}  // namespace tristill
