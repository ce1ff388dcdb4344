#include "train/job/tokenizer_job.h"

#include "train/job/fields.h"

namespace tristill::job {

using nlohmann::json;

Result<TokenizerJob> read_tokenizer_job(const json& object) {
  Fields fields(object, "");
  TokenizerJob job;
  std::string kind;
  fields.choice<std::string>("kind", {{"tokenizer", "tokenizer"}}, kind);
  fields.require("kind");
  read_name(fields, "name", job.name);
  fields.require("name");
  fields.object("tokenizer", [&](Fields& inner) { read_tokenizer(inner, job.tokenizer); });
  fields.object("data", [&](Fields& inner) { read_data(inner, job.data); });
  fields.require("data");
  fields.finish();
  if (fields.failed()) return fields.error();
  if (job.data.corpora.empty()) {
    return wrong("data.corpora",
                 "data.corpora is empty; a tokenizer is trained on corpora, name one");
  }
  if (!job.data.traces.empty()) {
    return wrong("data.traces", "data.traces is for train jobs; a tokenizer is trained on corpora");
  }
  if (!job.tokenizer.is_trained()) {
    return wrong("tokenizer",
                 "a tokenizer job trains one; leave from_model, from_job and from_weights out");
  }
  return job;
}

json tokenizer_job_json(const TokenizerJob& job) {
  return {{"kind", "tokenizer"},
          {"name", job.name},
          {"tokenizer", tokenizer_json(job.tokenizer)},
          {"data", data_json(job.data)}};
}

}  // namespace tristill::job
