// The names of checkpoints in a job's checkpoints/: NNNNNNNN, the step. What is whole in them is
// train/checkpoint.h's to say. Any thread; the worker may remove some meanwhile.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

namespace tristill::job {

// Of a folder that list_checkpoints gave.
int64_t step_of(const std::filesystem::path& checkpoint);

// Newest first; none where there is no such folder.
std::vector<std::filesystem::path> list_checkpoints(const std::filesystem::path& folder);

}  // namespace tristill::job
