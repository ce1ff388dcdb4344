#include "model/config.h"

#include <cmath>

namespace tristill {
namespace {

constexpr uint32_t kTernaryBlock = 256;

Error bad(const char* field, const std::string& reason) {
  return {ErrorCode::invalid_argument, std::string(field) + " " + reason, field};
}

Result<void> check_range(const char* field, uint64_t value, uint64_t low, uint64_t high) {
  if (value >= low && value <= high) return {};
  return bad(field, "is " + std::to_string(value) + "; accepted is " + std::to_string(low) +
                        " to " + std::to_string(high));
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
  if (c.weights == WeightKind::ternary) {
    if (c.d_model % kTernaryBlock != 0)
      return bad("d_model", "must be a multiple of 256 for ternary weights");
    if (c.d_ff % kTernaryBlock != 0)
      return bad("d_ff", "must be a multiple of 256 for ternary weights");
    if (c.q_dim() % kTernaryBlock != 0)
      return bad("n_heads", "times head_dim must be a multiple of 256 for ternary weights");
  }
  return {};
}

ParameterCounts count_parameters(const ModelConfig& c) {
  const uint64_t d = c.d_model;
  const uint64_t attention = d * c.q_dim() * 2 + d * c.kv_dim() * 2;
  uint64_t norms = 2 * d;
  if (c.qk_norm) norms += 2 * c.head_dim;
  if (c.sub_norm) norms += c.q_dim() + c.d_ff;
  ParameterCounts counts;
  counts.linear = c.n_layers * (attention + 3 * d * c.d_ff);
  counts.embedding = d * c.vocab_size * (c.tied_embeddings ? 1 : 2);
  counts.norm = c.n_layers * norms + d;
  return counts;
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
