// JobSpec: the body of POST /jobs of any kind. A kind is a struct, a reader and a writer of its own
// here in train/job, and a runner in train/run. Pure; any thread.
#pragma once

#include <string>
#include <string_view>
#include <variant>

#include "base/result.h"
#include "train/job/dryrun_spec.h"
#include "train/job/spec.h"
#include "train/job/tokenizer_job.h"

namespace tristill::job {

using JobSpec = std::variant<TrainSpec, TokenizerJob, DryRunSpec>;

// JSON text -> JobSpec by its "kind". Errors: invalid_argument with the field's path.
Result<JobSpec> parse_job_spec(std::string_view json);
Result<JobSpec> read_job_spec(const nlohmann::json& object);

// train/job/spec.h's check_idle of a job of any kind.
Result<void> check_idle(const JobSpec& spec);

// The complete spec, defaults filled in.
std::string format_job_spec(const JobSpec& spec);
nlohmann::json job_spec_json(const JobSpec& spec);

const std::string& name_of(const JobSpec& spec);

// The file in the job's directory that a succeeded job leaves.
std::string result_file(const JobSpec& spec);

}  // namespace tristill::job
