#include "server/jobs/admission.h"

#include <utility>

#include "base/name.h"
#include "server/jobs/corpora.h"
#include "train/job/directory.h"

namespace tristill::jobs {
namespace {

std::string listed(const std::vector<std::string>& names) {
  if (names.empty()) return "none yet";
  std::string text;
  for (const std::string& name : names) {
    if (!text.empty()) text += ", ";
    text += name;
  }
  return text;
}

Error unknown_corpus(const std::string& name, size_t index, const NamedInputs& inputs) {
  return {ErrorCode::invalid_argument,
          "corpus \"" + name +
              "\" does not exist; known are: " + listed(known_corpora(inputs.data_dir)) +
              "; a folder of files below corpora/ in the data directory becomes one",
          "data.corpora[" + std::to_string(index) + "].name"};
}

std::optional<std::filesystem::path> look_up(const Lookup& lookup, const std::string& name) {
  return lookup ? lookup(name) : std::nullopt;
}

}  // namespace

Result<job::JobFile> resolve_inputs(const std::string& id, job::TrainSpec spec,
                                    const NamedInputs& inputs) {
  job::JobFile file;
  file.id = id;
  if (!is_name(spec.name)) {
    return Error{ErrorCode::invalid_argument,
                 "name is \"" + spec.name + "\"; accepted are " + std::string(kAcceptedNames),
                 "name"};
  }
  for (size_t i = 0; i < spec.data.corpora.size(); ++i) {
    const job::CorpusSource& source = spec.data.corpora[i];
    auto folder = look_up(inputs.corpus, source.name);
    if (!folder) folder = find_corpus(inputs.data_dir, source.name);
    if (!folder) return unknown_corpus(source.name, i, inputs);
    file.corpora.push_back({source, folder->string()});
  }
  for (size_t i = 0; i < spec.data.traces.size(); ++i) {
    const auto shard = look_up(inputs.trace_shard, spec.data.traces[i]);
    if (!shard) {
      return Error{
          ErrorCode::invalid_argument,
          "trace set \"" + spec.data.traces[i] +
              "\" does not exist; GET /traces lists the sets, POST /traces?name= makes one",
          "data.traces[" + std::to_string(i) + "]"};
    }
    file.trace_shards.push_back(shard->string());
  }
  if (!spec.tokenizer.from_model.empty()) {
    const auto model = look_up(inputs.model, spec.tokenizer.from_model);
    if (!model) {
      return Error{ErrorCode::invalid_argument,
                   "model \"" + spec.tokenizer.from_model +
                       "\" is not served here; GET /v1/models lists the models",
                   "tokenizer.from_model"};
    }
    file.tokenizer_model = model->string();
  }
  if (!spec.init_from.empty()) {
    const job::JobDirectory other{inputs.data_dir / "jobs" / spec.init_from};
    std::error_code none;
    if (!std::filesystem::is_directory(other.checkpoints(), none)) {
      return Error{
          ErrorCode::invalid_argument,
          "job \"" + spec.init_from + "\" has no checkpoint here; GET /jobs lists the jobs",
          "init_from"};
    }
    file.init_checkpoints = other.checkpoints().string();
  }
  file.train = std::move(spec);
  return file;
}

}  // namespace tristill::jobs
