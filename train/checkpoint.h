// Checkpoints: everything a run needs to go on as if it had never stopped. Written beside, synced,
// renamed: a checkpoint is whole or absent. checkpoints/NNNNNNNN/state.pt, NNNNNNNN the step.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "base/result.h"

namespace tristill::train {

struct Checkpoint {
  int64_t step = 0;
  std::map<std::string, torch::Tensor> tensors;
};

// Errors: resource_exhausted on a full disk; older checkpoints are then untouched. Keeps the
// newest `keep` afterwards.
Result<void> save_checkpoint(const std::filesystem::path& folder, const Checkpoint& checkpoint,
                             int keep);

// The newest whole one; damaged ones are passed over and named in `skipped`.
std::optional<Checkpoint> load_newest_checkpoint(const std::filesystem::path& folder,
                                                 std::string& skipped);

}  // namespace tristill::train
