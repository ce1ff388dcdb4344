#include "train/job/quantization_spec.h"

#include <cmath>

#include "train/job/fields.h"

namespace tristill::job {
namespace {

const std::vector<std::pair<std::string, WeightRule>> kWeightRules = {
    {"absmean", WeightRule::absmean},
    {"twn", WeightRule::twn},
    {"lsq", WeightRule::lsq},
    {"seq", WeightRule::seq},
    {"tequila", WeightRule::tequila}};

std::string name_of(WeightRule rule) {
  for (const auto& [name, value] : kWeightRules) {
    if (value == rule) return name;
  }
  return {};
}

Result<void> check_flip(const QuantizationSpec& q, const BudgetSpec& budget) {
  constexpr auto kTokens = "quantization.flip_to_a4_at_tokens";
  constexpr auto kShare = "quantization.flip_to_a4_at_share";
  if (q.flip_to_a4_at_tokens && q.flip_to_a4_at_share) {
    return refused(kShare, " and flip_to_a4_at_tokens both name the flip; give one of them");
  }
  const char* given = q.flip_to_a4_at_tokens ? kTokens : kShare;
  if (!q.flip_to_a4_at_tokens && !q.flip_to_a4_at_share) return {};
  if (q.activation_bits == 4) {
    return refused(
        given,
        " flips from 8 bits to 4, but activation_bits is 4 from the start; leave one of them out");
  }
  if (q.flip_to_a4_at_share && !budget.max_tokens) {
    return refused(
        kShare,
        " is a share of budget.max_tokens, which is not given; give it, or flip_to_a4_at_tokens");
  }
  if (budget.max_tokens && *flip_tokens(q, budget) >= *budget.max_tokens) {
    return refused(
        given,
        " lies at or beyond budget.max_tokens: the job would never train with 4 bits; lower it");
  }
  return {};
}

Result<void> check_weights(const QuantizationSpec& q) {
  if (q.weights == WeightRule::absmean || q.lambda_warmup_steps == 0) return {};
  return wrong(
      "quantization.lambda_warmup_steps",
      "quantization.lambda_warmup_steps mixes ternary weights with those of full precision, "
      "which is absmean's alone, but quantization.weights is " +
          name_of(q.weights) + "; leave it out, or set weights to absmean");
}

}  // namespace

void read_quantization(Fields& fields, QuantizationSpec& quantization) {
  fields.choice("weights", kWeightRules, quantization.weights);
  fields.real("tequila_lambda", 1e-6, 1, quantization.tequila_lambda);
  if (fields.has("tequila_lambda") && quantization.weights != WeightRule::tequila) {
    fields.fail("tequila_lambda",
                "quantization.tequila_lambda needs quantization.weights tequila; leave it out");
  }
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

std::optional<uint64_t> flip_tokens(const QuantizationSpec& quantization,
                                    const BudgetSpec& budget) {
  if (quantization.flip_to_a4_at_tokens) return quantization.flip_to_a4_at_tokens;
  if (!quantization.flip_to_a4_at_share || !budget.max_tokens) return std::nullopt;
  const double share = *quantization.flip_to_a4_at_share * static_cast<double>(*budget.max_tokens);
  return static_cast<uint64_t>(std::ceil(share));
}

Result<void> check_quantization(const QuantizationSpec& q, const BudgetSpec& budget,
                                const ModelConfig& model, bool quantized) {
  const bool flips = q.flip_to_a4_at_tokens || q.flip_to_a4_at_share;
  const bool four = q.activation_bits == 4 || flips;
  if (!quantized && (four || !q.keep_a8_before_down || q.lambda_warmup_steps > 0 ||
                     q.weights != WeightRule::absmean)) {
    return wrong("quantization",
                 "quantization is for students that are quantised; leave it out, or "
                 "set quantized to true");
  }
  if (auto ok = check_weights(q); !ok) return ok;
  if (auto ok = check_flip(q, budget); !ok) return ok;
  if (!q.keep_a8_before_down && !four) {
    return wrong("quantization.keep_a8_before_down",
                 "quantization.keep_a8_before_down is false, but nothing has 4 bits; give "
                 "activation_bits 4 or a flip, or leave it out");
  }
  if (!q.keep_a8_before_down && !model.ternary_mlp) {
    return wrong(
        "quantization.keep_a8_before_down",
        "quantization.keep_a8_before_down is false, but down_proj is not ternary; leave it "
        "out, or set model.ternary_mlp to true");
  }
  if (budget.max_steps && q.lambda_warmup_steps >= *budget.max_steps && q.lambda_warmup_steps > 0) {
    return wrong("quantization.lambda_warmup_steps",
                 "quantization.lambda_warmup_steps is not below budget.max_steps: no step would be "
                 "wholly quantised; lower it");
  }
  return {};
}

nlohmann::json quantization_json(const QuantizationSpec& q) {
  nlohmann::json out = {{"weights", name_of(q.weights)},
                        {"activation_bits", q.activation_bits},
                        {"keep_a8_before_down", q.keep_a8_before_down},
                        {"lambda_warmup_steps", q.lambda_warmup_steps}};
  if (q.weights == WeightRule::tequila) out["tequila_lambda"] = q.tequila_lambda;
  if (q.flip_to_a4_at_tokens) out["flip_to_a4_at_tokens"] = *q.flip_to_a4_at_tokens;
  if (q.flip_to_a4_at_share) out["flip_to_a4_at_share"] = *q.flip_to_a4_at_share;
  return out;
}

}  // namespace tristill::job
