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

Result<void> resolve_data(const job::DataSpec& data, const NamedInputs& inputs,
                          job::JobFile& file) {
  for (size_t i = 0; i < data.corpora.size(); ++i) {
    const job::CorpusSource& source = data.corpora[i];
    auto folder = look_up(inputs.corpus, source.name);
    if (!folder) folder = find_corpus(inputs.data_dir, source.name);
    if (!folder) return unknown_corpus(source.name, i, inputs);
    file.corpora.push_back({source, folder->string()});
  }
  for (size_t i = 0; i < data.traces.size(); ++i) {
    const auto shard = look_up(inputs.trace_shard, data.traces[i]);
    if (!shard) {
      return Error{
          ErrorCode::invalid_argument,
          "trace set \"" + data.traces[i] +
              "\" does not exist; GET /traces lists the sets, POST /traces?name= makes one",
          "data.traces[" + std::to_string(i) + "]"};
    }
    file.trace_shards.push_back(shard->string());
  }
  return {};
}

// The file of a served model; param is the field that names it.
Result<std::string> served_model(const std::string& name, std::string param,
                                 const NamedInputs& inputs) {
  const auto file = look_up(inputs.model, name);
  if (file) return file->string();
  return Error{ErrorCode::invalid_argument,
               "model \"" + name + "\" is not served here; GET /v1/models lists the models",
               std::move(param)};
}

// What published weights come with: NAME, a folder with tokenizer.model or a file.
Result<std::string> published_tokenizer(const std::string& name, const NamedInputs& inputs) {
  const std::filesystem::path folder = inputs.data_dir / "weights";
  for (const char* ending : {"/tokenizer.model", "", ".model", ".gguf"}) {
    std::error_code none;
    const std::filesystem::path path = folder / (name + ending);
    const bool is_one = path.extension() == ".model" || path.extension() == ".gguf";
    if (is_one && std::filesystem::is_regular_file(path, none)) return path.string();
  }
  return Error{ErrorCode::invalid_argument,
               "there is no tokenizer \"" + name +
                   "\"; a folder with tokenizer.model, or a .model or .gguf of that name below "
                   "weights/ in the data directory becomes one",
               "tokenizer.from_weights"};
}

Result<void> resolve_tokenizer(const job::TokenizerSpec& tokenizer, const NamedInputs& inputs,
                               job::JobFile& file) {
  if (!tokenizer.from_model.empty()) {
    auto model = served_model(tokenizer.from_model, "tokenizer.from_model", inputs);
    if (!model) return model.error();
    file.tokenizer_model = std::move(*model);
  }
  if (!tokenizer.from_job.empty()) {
    const job::JobDirectory other{inputs.data_dir / "jobs" / tokenizer.from_job};
    std::error_code none;
    if (!std::filesystem::is_regular_file(other.tokenizer(), none)) {
      return Error{
          ErrorCode::invalid_argument,
          "job \"" + tokenizer.from_job +
              "\" has no tokenizer here; GET /jobs lists the jobs, kind tokenizer makes one",
          "tokenizer.from_job"};
    }
    file.tokenizer_pieces = other.tokenizer().string();
  }
  if (!tokenizer.from_weights.empty()) {
    auto path = published_tokenizer(tokenizer.from_weights, inputs);
    if (!path) return path.error();
    file.tokenizer_weights = std::move(*path);
  }
  return {};
}

Result<void> resolve_teachers(const job::TeachingSpec& teaching, const NamedInputs& inputs,
                              job::JobFile& file) {
  for (size_t i = 0; i < teaching.teachers.size(); ++i) {
    auto model = served_model(teaching.teachers[i].model,
                              "teaching.teachers[" + std::to_string(i) + "].model", inputs);
    if (!model) return model.error();
    file.teachers.push_back(std::move(*model));
  }
  return {};
}

Result<void> resolve_init(const std::string& init_from, const NamedInputs& inputs,
                          job::JobFile& file) {
  if (init_from.empty()) return {};
  const job::JobDirectory other{inputs.data_dir / "jobs" / init_from};
  std::error_code none;
  if (!std::filesystem::is_directory(other.checkpoints(), none)) {
    return Error{ErrorCode::invalid_argument,
                 "job \"" + init_from + "\" has no checkpoint here; GET /jobs lists the jobs",
                 "init_from"};
  }
  file.init_checkpoints = other.checkpoints().string();
  return {};
}

Result<void> resolve_weights(const std::string& name, const NamedInputs& inputs,
                             job::JobFile& file) {
  if (name.empty()) return {};
  const std::filesystem::path folder = inputs.data_dir / "weights";
  for (const char* ending : {"", ".gguf", ".safetensors", ".pt", ".pth", ".bin"}) {
    std::error_code none;
    if (!std::filesystem::exists(folder / (name + ending), none)) continue;
    file.init_weights = (folder / (name + ending)).string();
    return {};
  }
  return Error{
      ErrorCode::invalid_argument,
      "there are no weights \"" + name +
          "\"; a folder of .safetensors files, a .safetensors, .gguf, .pt, .pth or .bin of that "
          "name below weights/ in the data directory becomes them",
      "init_from_weights"};
}

Result<void> resolve(const job::TrainSpec& spec, const NamedInputs& inputs, job::JobFile& file) {
  if (auto ok = resolve_data(spec.data, inputs, file); !ok) return ok;
  if (auto ok = resolve_tokenizer(spec.tokenizer, inputs, file); !ok) return ok;
  if (auto ok = resolve_teachers(spec.teaching, inputs, file); !ok) return ok;
  if (auto ok = resolve_weights(spec.init_from_weights, inputs, file); !ok) return ok;
  return resolve_init(spec.init_from, inputs, file);
}

Result<void> resolve(const job::TokenizerJob& spec, const NamedInputs& inputs, job::JobFile& file) {
  return resolve_data(spec.data, inputs, file);
}

// Its job's data is not read, so it need not be there.
Result<void> resolve(const job::DryRunSpec&, const NamedInputs&, job::JobFile&) { return {}; }

}  // namespace

Result<job::JobFile> resolve_inputs(const std::string& id, job::JobSpec spec,
                                    const NamedInputs& inputs) {
  job::JobFile file;
  file.id = id;
  if (const std::string& name = name_of(spec); !is_name(name)) {
    return Error{ErrorCode::invalid_argument,
                 "name is \"" + name + "\"; accepted are " + std::string(kAcceptedNames), "name"};
  }
  const auto resolved =
      std::visit([&](const auto& one) { return resolve(one, inputs, file); }, spec);
  if (!resolved) return resolved.error();
  file.spec = std::move(spec);
  return file;
}

}  // namespace tristill::jobs
