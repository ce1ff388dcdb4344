#include "train/run/training_data.h"

#include <cmath>
#include <cstdio>

#include "base/atomic_file.h"
#include "base/sha256.h"
#include "model/format/model_file.h"
#include "train/data/corpus.h"
#include "train/data/sentencepiece_train.h"
#include "train/trace/shard.h"

namespace tristill::train {
namespace {

constexpr double kMassSlack = 1e-3;  // of a list's probabilities, as trace lines allow

job::Event phase(std::string name, double fraction) {
  return {.type = job::EventType::progress,
          .numbers = {{"fraction", fraction}},
          .texts = {{"phase", std::move(name)}}};
}

Result<std::vector<Corpus>> read_corpora(const job::JobFile& file, EventLog& events) {
  std::vector<Corpus> corpora;
  for (const job::ResolvedCorpus& wanted : file.corpora) {
    auto corpus = read_corpus(wanted, file.train().data.held_out);
    if (!corpus) return corpus.error();
    const CorpusSummary& summary = corpus->summary;
    events.write({.type = job::EventType::log,
                  .message = "read corpus " + wanted.source.name,
                  .numbers = {{"files", static_cast<double>(summary.files)},
                              {"bytes", static_cast<double>(summary.bytes)},
                              {"held_out_files", static_cast<double>(summary.held_out_files)},
                              {"held_out_bytes", static_cast<double>(summary.held_out_bytes)},
                              {"skipped_duplicate", static_cast<double>(summary.skipped_duplicate)},
                              {"skipped_size", static_cast<double>(summary.skipped_size)},
                              {"skipped_not_text", static_cast<double>(summary.skipped_not_text)}},
                  .texts = {{"manifest_sha256", summary.manifest_sha256}}});
    corpora.push_back(std::move(*corpus));
  }
  return corpora;
}

Result<std::string> train_tokenizer(const job::JobDirectory& directory, const job::JobFile& file,
                                    const std::vector<Corpus>& corpora, EventLog& events) {
  const auto kept = directory.root / "tokenizer.model";
  if (auto bytes = read_file(kept)) return bytes;
  events.write(phase("training tokenizer", 0));
  std::vector<std::string_view> texts;
  for (const Corpus& corpus : corpora) {
    for (const Document& document : corpus.documents) {
      if (!document.held_out) texts.push_back(document.text);
    }
  }
  if (texts.empty()) {
    return Error{
        ErrorCode::invalid_argument,
        "a tokenizer can only be trained on data.corpora; name one, or tokenizer.from_model",
        "tokenizer"};
  }
  auto model = train_sentencepiece(texts, file.train().tokenizer.vocab_size, directory.root);
  if (!model) return model;
  if (auto written = write_file_atomically(kept, *model); !written) return written.error();
  return model;
}

Result<std::shared_ptr<const Tokenizer>> find_tokenizer(const job::JobDirectory& directory,
                                                        const job::JobFile& file,
                                                        const std::vector<Corpus>& corpora,
                                                        EventLog& events) {
  if (!file.tokenizer_model.empty()) {
    auto model = read_model_file(file.tokenizer_model);
    if (!model) return model.error();
    return model->tokenizer;
  }
  auto serialized = train_tokenizer(directory, file, corpora, events);
  if (!serialized) return serialized.error();
  return Tokenizer::from_sentencepiece(*serialized);
}

Error bad_trace(std::string message) {
  return {ErrorCode::invalid_argument, std::move(message), "data.traces"};
}

// What loss.tail needs of a trace, beyond what every trace is.
Result<void> check_trace(const trace::Record& record, const Tokenizer& tokenizer, job::Tail tail) {
  if (record.tokenizer != tokenizer.fingerprint()) {
    return bad_trace("traces were made with tokenizer " + record.tokenizer + ", the student has " +
                     tokenizer.fingerprint() + "; set tokenizer.from_model to the teacher's");
  }
  if (tail == job::Tail::sampled && record.sampling != trace::Sampling::t1) {
    return bad_trace(
        "traces hold texts that are not sampled at temperature 1, which loss.tail sampled needs; "
        "set loss.tail other");
  }
  if (tail != job::Tail::counts) return {};
  for (const auto& list : record.top_logprobs) {
    double mass = list.empty() ? 1 : 0;
    for (const auto& entry : list) mass += std::exp(static_cast<double>(entry.logprob));
    if (std::abs(mass - 1) > kMassSlack) {
      return bad_trace(
          "traces hold lists whose probabilities do not sum to 1, which shares of draws do and "
          "loss.tail counts needs; set loss.tail other");
    }
  }
  return {};
}

Result<TokenSource> read_traces(const job::JobFile& file, const Tokenizer& tokenizer,
                                std::string& manifest) {
  TokenSource source;
  source.name = "traces";
  source.is_trace = true;
  source.weight = file.train().data.trace_weight;
  Result<void> bad;
  for (const std::string& path : file.trace_shards) {
    const auto vocab = static_cast<int32_t>(file.train().model.vocab_size);
    auto summary = trace::read_shard(path, [&](trace::Record&& record) {
      if (bad) bad = check_trace(record, tokenizer, file.train().loss.distillation.tail);
      if (bad && record.tokens.size() >= 2) source.add_trace(record);
    });
    if (!summary) return summary.error();
    if (!bad) return bad.error();
    for (const int32_t id : source.tokens) {
      if (id < 0 || id >= vocab) {
        return Error{ErrorCode::corrupt, "trace token outside the vocabulary in " + path,
                     "data.traces"};
      }
    }
    for (const int32_t id : source.top_ids) {
      if (id < 0 || id >= vocab) {
        return Error{ErrorCode::corrupt, "trace candidate outside the vocabulary in " + path,
                     "data.traces"};
      }
    }
    manifest += path.substr(path.rfind('/') + 1) + " " + std::to_string(summary->tokens) + "\n";
  }
  return source;
}

}  // namespace

Result<TrainingData> prepare_data(const job::JobDirectory& directory, const job::JobFile& file,
                                  EventLog& events) {
  events.write(phase("reading data", 0));
  auto corpora = read_corpora(file, events);
  if (!corpora) return corpora.error();
  auto tokenizer = find_tokenizer(directory, file, *corpora, events);
  if (!tokenizer) return tokenizer.error();
  TrainingData data;
  data.tokenizer = *tokenizer;
  data.held_out.name = "held-out";
  std::string manifest;
  events.write(phase("tokenizing", 0));
  for (size_t i = 0; i < corpora->size(); ++i) {
    TokenSource source;
    source.name = file.corpora[i].source.name;
    source.weight = file.corpora[i].source.weight;
    for (const Document& document : (*corpora)[i].documents) {
      (document.held_out ? data.held_out : source).add_document(*data.tokenizer, document.text);
    }
    manifest += (*corpora)[i].summary.manifest_sha256 + "  " + source.name + "\n";
    data.sources.push_back(std::move(source));
  }
  auto traces = read_traces(file, *data.tokenizer, manifest);
  if (!traces) return traces.error();
  if (traces->documents() > 0) data.sources.push_back(std::move(*traces));
  data.manifest_sha256 = to_hex(sha256(manifest));
  return data;
}

}  // namespace tristill::train
