// Checkpoints: everything a run needs to go on as if it had never stopped. Written beside, synced,
// renamed: a checkpoint is whole or absent. checkpoints/NNNNNNNN/state.pt, NNNNNNNN the step, and
// health.json, how the run was when it was saved.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "base/result.h"
#include "train/job/health_file.h"

namespace tristill::train {

struct Checkpoint {
  int64_t step = 0;
  std::map<std::string, torch::Tensor> tensors;
  job::HealthFile health;  // written, not read back
};

// Errors: resource_exhausted on a full disk; older checkpoints are then untouched. Keeps the
// newest `keep` afterwards, and the newest that was healthy.
Result<void> save_checkpoint(const std::filesystem::path& folder, const Checkpoint& checkpoint,
                             int keep);

// The newest whole one; damaged ones are passed over and named in `skipped`.
std::optional<Checkpoint> load_newest_checkpoint(const std::filesystem::path& folder,
                                                 std::string& skipped);

// Goes back to the newest whole checkpoint that was healthy when it was saved: removes those after
// it, so that it is the newest. Its step; nothing, and nothing is removed, when there is none.
std::optional<int64_t> roll_back(const std::filesystem::path& folder);

}  // namespace tristill::train
