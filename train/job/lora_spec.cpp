#include "train/job/lora_spec.h"

#include <algorithm>

#include "train/job/fields.h"
#include "train/job/spec.h"

namespace tristill::job {
namespace {

constexpr double kPublishedRate = 2e-4;

std::vector<std::string> all_targets() {
  std::vector<std::string> names;
  for (const BlockMatrix& matrix : block_matrices({})) names.emplace_back(matrix.name);
  return names;
}

// Each name once.
bool are_targets(const std::vector<std::string>& given) {
  const auto known = all_targets();
  return !given.empty() && std::ranges::all_of(given, [&](const std::string& name) {
    return std::ranges::count(known, name) == 1 && std::ranges::count(given, name) == 1;
  });
}

void read_fields(Fields& fields, LoraSpec& lora) {
  fields.whole("rank", 1, 65536, lora.rank);
  fields.real("alpha", 1e-3, 1e6, lora.alpha);
  if (!fields.has("alpha")) lora.alpha = 2.0 * lora.rank;
  lora.targets = all_targets();
  fields.texts("targets", lora.targets.size(), lora.targets);
  fields.require("rank");
  if (fields.failed() || are_targets(lora.targets)) return;
  std::string names;
  for (const std::string& name : all_targets()) names += (names.empty() ? "" : ", ") + name;
  fields.refuse("targets", "a list with at least one of " + names + ", each once");
}

}  // namespace

std::array<BlockMatrix, 7> block_matrices(const ModelConfig& c) {
  return {{{"attn_q", c.q_dim(), c.d_model},
           {"attn_k", c.kv_dim(), c.d_model},
           {"attn_v", c.kv_dim(), c.d_model},
           {"attn_output", c.d_model, c.q_dim()},
           {"ffn_gate", c.d_ff, c.d_model},
           {"ffn_up", c.d_ff, c.d_model},
           {"ffn_down", c.d_model, c.d_ff}}};
}

bool LoraSpec::is_target(const std::string& name) const {
  return std::ranges::find(targets, name) != targets.end();
}

void read_lora(Fields& fields, std::optional<LoraSpec>& lora, OptimizerSpec& optimizer) {
  fields.object("lora", [&](Fields& inner) {
    read_fields(inner, lora.emplace());
    optimizer.kind = OptimizerKind::adamw;
    optimizer.adamw_lr = kPublishedRate;
  });
}

Result<void> check_lora(const TrainSpec& spec) {
  if (!spec.lora) return {};
  if (spec.quantized) {
    return refused("lora",
                   " adapts weights of full precision, and those of a quantised student would have "
                   "to be made ternary again; set quantized to false and distil from the result, "
                   "or leave lora out");
  }
  if (spec.init_from.empty() && spec.init_from_weights.empty()) {
    return refused("lora",
                   " adapts weights that are there, and those of this job would be drawn; give "
                   "init_from_weights or init_from, or leave lora out");
  }
  uint32_t smallest = UINT32_MAX;
  for (const BlockMatrix& matrix : block_matrices(spec.model)) {
    if (!spec.lora->is_target(matrix.name)) continue;
    smallest = std::min({smallest, matrix.out, matrix.in});
  }
  if (spec.lora->rank > smallest) {
    return refused("lora.rank", " is " + std::to_string(spec.lora->rank) +
                                    " and the smallest side of the targets is " +
                                    std::to_string(smallest) + "; accepted is at most that");
  }
  if (spec.optimizer.kind != OptimizerKind::adamw) {
    return refused("optimizer.kind",
                   " other than adamw is for whole matrices, and lora trains thin factors; leave "
                   "kind out, or set adamw");
  }
  if (spec.optimizer.norm_pinning) {
    return refused("optimizer.norm_pinning",
                   " holds the size of whole matrices, and lora trains thin factors that begin at "
                   "0; leave it out");
  }
  return {};
}

nlohmann::json lora_json(const LoraSpec& lora) {
  return {{"rank", lora.rank}, {"alpha", lora.alpha}, {"targets", lora.targets}};
}

}  // namespace tristill::job
