#include "train/job/data_spec.h"

#include <algorithm>

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

namespace {

constexpr size_t kMaxLicenseId = 64;

// idstring of the SPDX specification, annex D; a "+" may follow.
bool is_license_id(const std::string& text) {
  if (text.empty() || text.size() > kMaxLicenseId) return false;
  return std::ranges::all_of(text, [](char c) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    return letter || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '+';
  });
}

void read_licenses(Fields& fields, DataSpec& data) {
  fields.texts("licenses", 64, data.licenses);
  if (!fields.has("licenses") || fields.failed()) return;
  if (data.licenses.empty() || !std::ranges::all_of(data.licenses, is_license_id)) {
    fields.refuse("licenses",
                  "a list of 1 to 64 SPDX license ids such as \"MIT\", and \"unknown\"");
  } else if (data.corpora.empty()) {
    fields.fail("licenses",
                "data.licenses chooses among files of corpora and none is named; leave it out");
  }
}

}  // namespace

void read_corpus(Fields& fields, CorpusSource& source) {
  read_name(fields, "name", source.name);
  fields.require("name");
  fields.real("weight", 1e-6, 1e6, source.weight);
  fields.choice<CorpusFormat>(
      "format", {{"files", CorpusFormat::files}, {"jsonl", CorpusFormat::jsonl}}, source.format);
  if (source.format == CorpusFormat::jsonl) source.extensions = {".jsonl"};
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
  fields.real("near_duplicate", 0, 1, data.near_duplicate);
  read_licenses(fields, data);
}

void read_tokenizer(Fields& fields, TokenizerSpec& tokenizer) {
  read_name(fields, "from_model", tokenizer.from_model);
  read_name(fields, "from_job", tokenizer.from_job);
  read_name(fields, "from_weights", tokenizer.from_weights);
  if (!tokenizer.from_model.empty() && !tokenizer.from_job.empty()) {
    fields.fail("from_job", "from_job and from_model both name a tokenizer; give one of them");
  }
  if (!tokenizer.from_weights.empty() &&
      !(tokenizer.from_model.empty() && tokenizer.from_job.empty())) {
    fields.fail("from_weights",
                "from_weights names a tokenizer, and from_model or from_job too; give one of them");
  }
  fields.whole("vocab_size", 300, 1 << 18, tokenizer.vocab_size);
}

json corpus_json(const CorpusSource& source) {
  json out = {{"name", source.name}, {"extensions", source.extensions}, {"weight", source.weight}};
  if (source.format == CorpusFormat::jsonl) out["format"] = "jsonl";
  return out;
}

json data_json(const DataSpec& data) {
  json corpora = json::array();
  for (const CorpusSource& source : data.corpora) corpora.push_back(corpus_json(source));
  json out = {{"corpora", corpora},
              {"traces", data.traces},
              {"trace_weight", data.trace_weight},
              {"fim_rate", data.fim_rate},
              {"spm_rate", data.spm_rate},
              {"held_out", data.held_out},
              {"near_duplicate", data.near_duplicate}};
  if (!data.licenses.empty()) out["licenses"] = data.licenses;
  return out;
}

json tokenizer_json(const TokenizerSpec& tokenizer) {
  json out = {{"vocab_size", tokenizer.vocab_size}};
  if (!tokenizer.from_model.empty()) out["from_model"] = tokenizer.from_model;
  if (!tokenizer.from_job.empty()) out["from_job"] = tokenizer.from_job;
  if (!tokenizer.from_weights.empty()) out["from_weights"] = tokenizer.from_weights;
  return out;
}

}  // namespace tristill::job
