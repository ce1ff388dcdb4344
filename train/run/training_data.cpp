#include "train/run/training_data.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/atomic_file.h"
#include "base/sha256.h"
#include "model/format/model_file.h"
#include "model/threads.h"
#include "train/run/phase_progress.h"
#include "train/run/tokenizer.h"
#include "train/run/training_corpora.h"
#include "train/run/training_traces.h"

namespace tristill::train {
namespace {

bool has_chats(const std::vector<Corpus>& corpora) {
  return std::ranges::any_of(corpora, [](const Corpus& corpus) {
    return std::ranges::any_of(corpus.documents, [](const auto& d) { return !d.parts.empty(); });
  });
}

Result<std::shared_ptr<const Tokenizer>> find_tokenizer(const job::JobDirectory& directory,
                                                        const job::JobFile& file,
                                                        const std::vector<Corpus>& corpora,
                                                        EventLog& events) {
  if (!file.tokenizer_model.empty()) {
    auto model = read_model_file(file.tokenizer_model);
    if (!model) return model.error();
    if (!model->chat_template.empty() && has_chats(corpora)) {
      events.info(
          "chats are written as the daemon's template \"plain\" has them; the template of model " +
          file.train().tokenizer.from_model + " is not used, and the student carries none");
    }
    return model->tokenizer;
  }
  auto serialized = file.tokenizer_pieces.empty()
                        ? train_tokenizer(directory, corpora, file.train().tokenizer, events)
                        : read_file(file.tokenizer_pieces);
  if (!serialized) return serialized.error();
  return Tokenizer::from_sentencepiece(*serialized);
}

void tokenize(const job::JobFile& file, std::vector<Corpus>& corpora, EventLog& events,
              TrainingData& data) {
  double bytes = 0;
  for (const Corpus& corpus : corpora) {
    for (const Document& one : corpus.documents) bytes += static_cast<double>(one.text.size());
  }
  PhaseProgress progress(events, "tokenizing", bytes);
  ThreadTeam team(static_cast<uint32_t>(at::get_num_threads()));
  data.held_out.name = "held-out";
  for (size_t i = 0; i < corpora.size(); ++i) {
    TokenSource source;
    source.name = file.corpora[i].source.name;
    source.weight = file.corpora[i].source.weight;
    const auto& documents = corpora[i].documents;
    const auto encoded = encode_documents(*data.tokenizer, documents, team, [&](uint64_t done) {
      progress.add(static_cast<double>(done));
    });
    for (size_t d = 0; d < documents.size(); ++d) {
      (documents[d].held_out ? data.held_out : source).add(encoded[d]);
    }
    corpora[i].documents.clear();
    data.sources.push_back(std::move(source));
  }
}

// Writes data-manifest.jsonl and returns its digest. Warns when a run that is resumed finds other
// data: its place in them then means something else.
Result<std::string> write_manifest(const job::JobDirectory& directory,
                                   const std::vector<Corpus>& corpora, const TrainingTraces& traces,
                                   EventLog& events) {
  std::string manifest;
  for (const Corpus& corpus : corpora) {
    for (const job::ManifestLine& line : corpus.files) manifest += format_manifest_line(line);
  }
  for (const job::ManifestLine& line : traces.files) manifest += format_manifest_line(line);
  if (const auto before = read_file(directory.data_manifest()); before && *before != manifest) {
    events.warn("the data are not those of this job's earlier run; compare " +
                directory.data_manifest().filename().string());
  }
  if (auto written = write_file_atomically(directory.data_manifest(), manifest); !written) {
    return written.error();
  }
  return to_hex(sha256(manifest));
}

}  // namespace

Result<TrainingData> prepare_data(const job::JobDirectory& directory, const job::JobFile& file,
                                  torch::Device device, EventLog& events) {
  auto corpora = read_training_corpora(file, file.train().data, events);
  if (!corpora) return corpora.error();
  auto tokenizer = find_tokenizer(directory, file, *corpora, events);
  if (!tokenizer) return tokenizer.error();
  TrainingData data;
  data.tokenizer = *tokenizer;
  auto teachers = Teachers::open(file.teachers, file.train(), *data.tokenizer, device);
  if (!teachers) return teachers.error();
  data.teachers = std::move(*teachers);
  auto traces = read_training_traces(file, *data.tokenizer);
  if (!traces) return traces.error();
  auto digest = write_manifest(directory, *corpora, *traces, events);
  if (!digest) return digest.error();
  data.manifest_sha256 = std::move(*digest);
  tokenize(file, *corpora, events, data);
  if (traces->source.documents() > 0) data.sources.push_back(std::move(traces->source));
  return data;
}

}  // namespace tristill::train
