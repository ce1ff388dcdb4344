#include "train/job/dryrun_spec.h"

#include "train/job/fields.h"

namespace tristill::job {

using nlohmann::json;

std::string_view to_string(DryRunMeasure measure) {
  return measure == DryRunMeasure::run ? "run" : "account";
}

Error of_job(Error error) {
  error.param = error.param.empty() ? "job" : "job." + error.param;
  error.message = "job: " + error.message;
  return error;
}

Result<DryRunSpec> read_dryrun(const json& object) {
  Fields fields(object, "");
  DryRunSpec spec;
  std::string kind;
  fields.choice<std::string>("kind", {{"dryrun", "dryrun"}}, kind);
  fields.require("kind");
  read_name(fields, "name", spec.name);
  fields.require("name");
  fields.choice<DryRunMeasure>(
      "measure", {{"run", DryRunMeasure::run}, {"account", DryRunMeasure::account}}, spec.measure);
  const json* job = fields.raw("job");
  fields.require("job");
  fields.finish();
  if (fields.failed()) return fields.error();
  if (!job->is_object()) {
    return Error{ErrorCode::invalid_argument,
                 "job is no object; accepted is the body of a train job", "job"};
  }
  auto train = read_train_spec(*job);
  if (!train) return of_job(train.error());
  if (!train->teaching.teachers.empty()) {
    return refused("job.teaching",
                   " is not counted by a dry run, which tries the student alone; leave it out");
  }
  if (train->optimizer.fogzo_beta < 1) {
    return refused("job.optimizer.fogzo_beta",
                   " below 1 is not counted by a dry run, whose steps have one pass; leave it out");
  }
  spec.job = std::move(*train);
  return spec;
}

json dryrun_json(const DryRunSpec& spec) {
  return {{"kind", "dryrun"},
          {"name", spec.name},
          {"measure", to_string(spec.measure)},
          {"job", train_json(spec.job)}};
}

}  // namespace tristill::job
