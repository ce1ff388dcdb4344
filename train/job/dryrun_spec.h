// What a job of kind "dryrun" is told to do: try a train job for memory and time, without its data.
// Pure; any thread.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/result.h"
#include "train/job/spec.h"

namespace tristill::job {

enum class DryRunMeasure {
  run,  // allocate, compute, compare with what was predicted
  account,  // predict only: for models that do not fit here
};
std::string_view to_string(DryRunMeasure measure);

struct DryRunSpec {
  std::string name;
  TrainSpec job;  // tried on random tokens
  DryRunMeasure measure = DryRunMeasure::run;
};

// An error of the train job, with the path that it has in a dry run.
Error of_job(Error error);

// Errors: invalid_argument with the field's path ("job.model.d_ff"); "kind" must be "dryrun".
Result<DryRunSpec> read_dryrun(const nlohmann::json& object);
nlohmann::json dryrun_json(const DryRunSpec& spec);

}  // namespace tristill::job
