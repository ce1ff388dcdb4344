// From a valid specification to what a worker can open: the names in it looked up. Any thread.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "base/result.h"
#include "train/job/job_file.h"

namespace tristill::jobs {

using Lookup = std::function<std::optional<std::filesystem::path>(const std::string& name)>;

// Where names lead. corpus may be empty: then only DATA/corpora and python-stdlib are known.
struct NamedInputs {
  std::filesystem::path data_dir;
  Lookup model;
  Lookup trace_shard;
  Lookup corpus;
};

// Errors: invalid_argument, param the field of the unknown name ("data.corpora[0].name").
Result<job::JobFile> resolve_inputs(const std::string& id, job::JobSpec spec,
                                    const NamedInputs& inputs);

}  // namespace tristill::jobs
