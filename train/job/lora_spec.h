// What a job says about low-rank adaptation: the object "lora" of the specification, in JSON and as
// a struct. What the factors compute is train/student/low_rank.h's. Pure; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/config.h"

namespace tristill::job {

class Fields;
struct OptimizerSpec;
struct TrainSpec;

// A matrix of each block, [out, in].
struct BlockMatrix {
  const char* name;  // in the model file between "blk.N." and ".weight"
  uint32_t out, in;
};
// In the order of the block.
std::array<BlockMatrix, 7> block_matrices(const ModelConfig& model);

// W = W0 + (alpha / rank) B A for the targets; nothing else is trained.
struct LoraSpec {
  uint32_t rank = 0;
  double alpha = 0;
  std::vector<std::string> targets;  // names of block_matrices

  double scale() const { return alpha / rank; }
  bool is_target(const std::string& name) const;
};

// Where the object is given, the optimiser's defaults become those of the paper: AdamW at 2e-4 (Hu
// et al. 2021, tables 11 and 12). So it is read before the optimiser.
void read_lora(Fields& fields, std::optional<LoraSpec>& lora, OptimizerSpec& optimizer);

// What no field says alone.
Result<void> check_lora(const TrainSpec& spec);

nlohmann::json lora_json(const LoraSpec& lora);

}  // namespace tristill::job
