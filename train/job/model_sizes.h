// Sizes of architectures, from their files in configs/models: what `tristill-worker --sizes` shows.
#pragma once

#include <filesystem>
#include <span>
#include <string>

#include "base/result.h"

namespace tristill::job {

// A table with a line a file: parameters, ternary ones, bytes of the model file's tensors, bytes of
// keys and values a token. Errors: not_found; invalid_argument naming file and field.
Result<std::string> table_of_sizes(std::span<const std::filesystem::path> files);

}  // namespace tristill::job
