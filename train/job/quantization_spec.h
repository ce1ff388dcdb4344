// What a job says about quantisation: the object "quantization" of the specification, in JSON and
// as a struct. Pure; any thread.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>

#include "base/result.h"
#include "train/job/budget_spec.h"

namespace tristill::job {

class Fields;

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

void read_quantization(Fields& fields, QuantizationSpec& quantization);

// What no field says alone. quantized: the job trains a student that is.
Result<void> check_quantization(const QuantizationSpec& quantization, const BudgetSpec& budget,
                                bool ternary_mlp, bool quantized);

// Defaults filled in.
nlohmann::json quantization_json(const QuantizationSpec& quantization);

}  // namespace tristill::job
