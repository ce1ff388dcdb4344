#include "train/job/data_spec.h"

#include "base/name.h"
#include "train/job/fields.h"

namespace tristill::job {

using nlohmann::json;

void read_name(Fields& fields, const char* field, std::string& target) {
  fields.text(field, target);
  if (fields.has(field) && !is_name(target)) {
    fields.refuse(field, std::string(kAcceptedNames));
  }
}

void read_corpus(Fields& fields, CorpusSource& source) {
  read_name(fields, "name", source.name);
  fields.require("name");
  fields.real("weight", 1e-6, 1e6, source.weight);
  fields.texts("extensions", 64, source.extensions);
  for (const std::string& extension : source.extensions) {
    if (extension.size() < 2 || extension.front() != '.') {
      fields.refuse("extensions", "a list of file name endings such as \".py\"");
    }
  }
}

void read_data(Fields& fields, DataSpec& data) {
  fields.objects("corpora", 64, [&](Fields& inner) {
    CorpusSource source;
    read_corpus(inner, source);
    data.corpora.push_back(std::move(source));
  });
  fields.texts("traces", 64, data.traces);
  for (const std::string& name : data.traces) {
    if (!is_name(name)) fields.refuse("traces", "a list of names of trace sets");
  }
  fields.real("trace_weight", 1e-6, 1e6, data.trace_weight);
  fields.real("fim_rate", 0, 1, data.fim_rate);
  fields.real("spm_rate", 0, 1, data.spm_rate);
  fields.real("held_out", 0, 0.9, data.held_out);
}

void read_tokenizer(Fields& fields, TokenizerSpec& tokenizer) {
  read_name(fields, "from_model", tokenizer.from_model);
  read_name(fields, "from_job", tokenizer.from_job);
  if (!tokenizer.from_model.empty() && !tokenizer.from_job.empty()) {
    fields.fail("from_job", "from_job and from_model both name a tokenizer; give one of them");
  }
  fields.whole("vocab_size", 300, 1 << 18, tokenizer.vocab_size);
}

json corpus_json(const CorpusSource& source) {
  return {{"name", source.name}, {"extensions", source.extensions}, {"weight", source.weight}};
}

json data_json(const DataSpec& data) {
  json corpora = json::array();
  for (const CorpusSource& source : data.corpora) corpora.push_back(corpus_json(source));
  return {
      {"corpora", corpora},        {"traces", data.traces},     {"trace_weight", data.trace_weight},
      {"fim_rate", data.fim_rate}, {"spm_rate", data.spm_rate}, {"held_out", data.held_out}};
}

json tokenizer_json(const TokenizerSpec& tokenizer) {
  json out = {{"vocab_size", tokenizer.vocab_size}};
  if (!tokenizer.from_model.empty()) out["from_model"] = tokenizer.from_model;
  if (!tokenizer.from_job.empty()) out["from_job"] = tokenizer.from_job;
  return out;
}

}  // namespace tristill::job
