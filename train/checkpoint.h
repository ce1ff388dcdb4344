// Checkpoints: everything a run needs to go on as if it had never stopped. Written beside, synced,
// renamed: a checkpoint is whole or absent. checkpoints/NNNNNNNN/state.pt, NNNNNNNN the step, and
// health.json, how the run was when it was saved. Most roll: a newer one takes their place. Those
// of every so many steps are kept for good, and the last of a run is never replaced.
#pragma once

#include <torch/types.h>

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

// Which checkpoints outlive a newer one, beside the newest that was healthy.
struct Keeping {
  size_t newest = 2;
  int64_t every = 0;  // those of its multiples of steps, too; 0: none
};

// Errors: resource_exhausted on a full disk; older checkpoints are then untouched.
Result<void> save_checkpoint(const std::filesystem::path& folder, const Checkpoint& checkpoint,
                             const Keeping& keeping);

// The newest whole one; damaged ones are passed over and named in `skipped`. Errors: not_found
// where there is none, corrupt where none is whole, unavailable where one cannot be read now.
Result<Checkpoint> load_newest_checkpoint(const std::filesystem::path& folder,
                                          std::string& skipped);

// Those newer than step, which were damaged, get names that are no checkpoint's (damaged-NNNNNNNN,
// until the next are set aside): they stand in the way of what is saved from here on.
void set_aside_newer(const std::filesystem::path& folder, int64_t step);

// Goes back to the newest whole checkpoint that was healthy when it was saved: removes those after
// it, so that it is the newest. Its step; nothing, and nothing is removed, when there is none.
std::optional<int64_t> roll_back(const std::filesystem::path& folder);

}  // namespace tristill::train
