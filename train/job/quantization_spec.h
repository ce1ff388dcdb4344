// What a job says about quantisation: the object "quantization" of the specification, in JSON and
// as a struct. Pure; any thread.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>

#include "base/result.h"
#include "model/config.h"
#include "train/job/budget_spec.h"

namespace tristill::job {

class Fields;

// How latent weights become ternary; the formulas are in train/quant.
enum class WeightRule {
  absmean,  // scale mean |W|
  twn,      // a wider dead zone, the scale of least squares
  lsq,      // a learned scale
  seq,      // a learned scale, levels stretched over the range
  tequila,  // absmean, and a bias a row of the weights that became zero
};

// How the student quantises its ternary layers' weights, and what they take in. The output head
// always takes 8 bits.
struct QuantizationSpec {
  WeightRule weights = WeightRule::absmean;
  double tequila_lambda = 1e-3;     // share of a zero weight in its row's bias
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

void read_quantization(Fields& fields, QuantizationSpec& quantization);

// What no field says alone. quantized: the job trains a student that is.
Result<void> check_quantization(const QuantizationSpec& quantization, const BudgetSpec& budget,
                                const ModelConfig& model, bool quantized);

// Defaults filled in.
nlohmann::json quantization_json(const QuantizationSpec& quantization);

}  // namespace tristill::job
