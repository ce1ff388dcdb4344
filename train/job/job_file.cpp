#include "train/job/job_file.h"

#include "train/job/fields.h"

namespace tristill::job {

using nlohmann::json;

Result<JobFile> parse_job_file(std::string_view text) {
  const auto object = parse_json_object(text);
  if (!object) return object.error();
  Fields fields(*object, "");
  JobFile file;
  fields.text("id", file.id);
  fields.require("id");
  const json* given = fields.raw("spec");
  fields.require("spec");
  fields.objects("corpora", 64, [&](Fields& inner) {
    ResolvedCorpus corpus;
    inner.object("source", [&](Fields& source) { read_corpus(source, corpus.source); });
    inner.text("path", corpus.path);
    inner.require("source");
    inner.require("path");
    file.corpora.push_back(std::move(corpus));
  });
  fields.texts("trace_shards", 4096, file.trace_shards);
  fields.text("tokenizer_model", file.tokenizer_model);
  fields.text("tokenizer_pieces", file.tokenizer_pieces);
  fields.text("tokenizer_weights", file.tokenizer_weights);
  fields.texts("teachers", 8, file.teachers);
  fields.text("init_checkpoints", file.init_checkpoints);
  fields.text("init_weights", file.init_weights);
  fields.finish();
  if (fields.failed()) return fields.error();
  if (!given->is_object()) {
    return Error{ErrorCode::invalid_argument, "spec is no object", "spec"};
  }
  auto spec = read_job_spec(*given);
  if (!spec) return spec.error();
  file.spec = std::move(*spec);
  const auto* train_spec = std::get_if<TrainSpec>(&file.spec);
  const size_t n_teachers = train_spec == nullptr ? 0 : train_spec->teaching.teachers.size();
  if (file.teachers.size() != n_teachers) {
    return Error{ErrorCode::invalid_argument, "teachers are not as many as spec.teaching.teachers",
                 "teachers"};
  }
  return file;
}

std::string format_job_file(const JobFile& file) {
  json corpora = json::array();
  for (const ResolvedCorpus& corpus : file.corpora) {
    corpora.push_back({{"source", corpus_json(corpus.source)}, {"path", corpus.path}});
  }
  const json out = {{"id", file.id},
                    {"spec", job_spec_json(file.spec)},
                    {"corpora", corpora},
                    {"trace_shards", file.trace_shards},
                    {"tokenizer_model", file.tokenizer_model},
                    {"tokenizer_pieces", file.tokenizer_pieces},
                    {"tokenizer_weights", file.tokenizer_weights},
                    {"teachers", file.teachers},
                    {"init_checkpoints", file.init_checkpoints},
                    {"init_weights", file.init_weights}};
  return out.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace tristill::job
