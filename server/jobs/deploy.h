// From a worker's student.gguf to a served model: DATA/models/NAME.gguf, whole, durable, and
// back to what was there when it cannot be served. One thread (the supervisor's).
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "base/result.h"

namespace tristill::jobs {

using PublishModel =
    std::function<Result<void>(const std::string& name, const std::filesystem::path& path)>;

// Puts artifact in place of models_dir/NAME.gguf and calls publish. When publish refuses, the
// former file stands again (or none). Doing it twice is harmless.
Result<void> deploy_model(const std::filesystem::path& artifact,
                          const std::filesystem::path& models_dir, const std::string& name,
                          const PublishModel& publish);

}  // namespace tristill::jobs
