#include "train/job/job_spec.h"

#include "train/job/directory.h"
#include "train/job/fields.h"

namespace tristill::job {
namespace {

using nlohmann::json;

enum class Kind { train, tokenizer, dryrun };

json to_json(const TrainSpec& spec) { return train_json(spec); }
json to_json(const TokenizerJob& spec) { return tokenizer_job_json(spec); }
json to_json(const DryRunSpec& spec) { return dryrun_json(spec); }

std::filesystem::path result_of(const JobDirectory& directory, const TrainSpec&) {
  return directory.model();
}
std::filesystem::path result_of(const JobDirectory& directory, const TokenizerJob&) {
  return directory.tokenizer();
}
std::filesystem::path result_of(const JobDirectory& directory, const DryRunSpec&) {
  return directory.dryrun_report();
}

template <class Spec>
Result<JobSpec> any(Result<Spec> spec) {
  if (!spec) return spec.error();
  return JobSpec(std::move(*spec));
}

}  // namespace

Result<JobSpec> read_job_spec(const json& object) {
  Fields fields(object, "");
  Kind kind = Kind::train;
  fields.choice<Kind>(
      "kind", {{"train", Kind::train}, {"tokenizer", Kind::tokenizer}, {"dryrun", Kind::dryrun}},
      kind);
  fields.require("kind");
  if (fields.failed()) return fields.error();
  switch (kind) {
    case Kind::train: return any(read_train_spec(object));
    case Kind::tokenizer: return any(read_tokenizer_job(object));
    case Kind::dryrun: return any(read_dryrun(object));
  }
  return Error{ErrorCode::internal, "unknown kind", "kind"};
}

Result<JobSpec> parse_job_spec(std::string_view text) {
  const auto object = parse_json_object(text);
  if (!object) return object.error();
  return read_job_spec(*object);
}

Result<void> check_idle(const JobSpec& spec) {
  if (const auto* train = std::get_if<TrainSpec>(&spec)) return check_idle(*train);
  if (const auto* dry = std::get_if<DryRunSpec>(&spec)) {
    if (auto ok = check_idle(dry->job); !ok) return of_job(ok.error());
  }
  return {};
}

json job_spec_json(const JobSpec& spec) {
  return std::visit([](const auto& one) { return to_json(one); }, spec);
}

std::string format_job_spec(const JobSpec& spec) { return job_spec_json(spec).dump(); }

const std::string& name_of(const JobSpec& spec) {
  return std::visit([](const auto& one) -> const std::string& { return one.name; }, spec);
}

std::string result_file(const JobSpec& spec) {
  return std::visit(
      [](const auto& one) { return result_of(JobDirectory{}, one).filename().string(); }, spec);
}

}  // namespace tristill::job
