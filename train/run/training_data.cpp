#include "train/run/training_data.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/atomic_file.h"
#include "base/sha256.h"
#include "model/format/model_file.h"
#include "model/threads.h"
#include "train/convert/published_tokenizer.h"
#include "train/run/leaked_traces.h"
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
  const bool is_published = !file.tokenizer_weights.empty();
  auto serialized = is_published ? convert::read_published_tokenizer(file.tokenizer_weights)
                    : !file.tokenizer_pieces.empty()
                        ? read_file(file.tokenizer_pieces)
                        : train_tokenizer(directory, corpora, file.train().tokenizer, events);
  if (!serialized) return serialized.error();
  auto tokenizer = Tokenizer::from_sentencepiece(*serialized);
  if (!tokenizer && is_published) {
    return Error{ErrorCode::invalid_argument, tokenizer.error().message, "tokenizer.from_weights"};
  }
  return tokenizer;
}

// A vocabulary that somebody else made may have no pieces for it.
void warn_of_idle_fim(const job::DataSpec& data, const Tokenizer& tokenizer, EventLog& events) {
  if (data.corpora.empty() || data.fim_rate == 0 || tokenizer.special().has_fim()) return;
  events.warn(
      "data.fim_rate does nothing: the tokenizer has no pieces <fim_prefix>, <fim_suffix> "
      "and <fim_middle>, so the student will not fill in the middle");
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

Result<TrainingTraces> read_traces(const job::JobFile& file, const std::vector<Corpus>& corpora,
                                   const Tokenizer& tokenizer, EventLog& events) {
  auto traces = read_training_traces(file, tokenizer);
  if (!traces) return traces;
  const double threshold = file.train().data.near_duplicate;
  const size_t n_leaked = remove_leaked_traces(*traces, corpora, tokenizer, threshold);
  if (n_leaked > 0) {
    events.info("traces left out because they repeat held-out documents: " +
                std::to_string(n_leaked));
  }
  return traces;
}

std::string manifest_of(const std::vector<Corpus>& corpora, const TrainingTraces& traces) {
  std::string manifest;
  for (const Corpus& corpus : corpora) {
    for (const job::ManifestLine& line : corpus.files) manifest += format_manifest_line(line);
  }
  for (const job::ManifestLine& line : traces.files) manifest += format_manifest_line(line);
  return manifest;
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
  warn_of_idle_fim(file.train().data, *data.tokenizer, events);
  auto teachers = Teachers::open(file.teachers, file.train(), *data.tokenizer, device);
  if (!teachers) return teachers.error();
  data.teachers = std::move(*teachers);
  auto traces = read_traces(file, *corpora, *data.tokenizer, events);
  if (!traces) return traces.error();
  data.manifest = manifest_of(*corpora, *traces);
  data.manifest_digest = sha256(data.manifest);
  tokenize(file, *corpora, events, data);
  if (traces->source.documents() > 0) data.sources.push_back(std::move(traces->source));
  if (data.sources.empty()) {
    return Error{ErrorCode::invalid_argument,
                 "the traces hold no record with anything to learn: two tokens or more; give "
                 "others, or data.corpora",
                 "data.traces"};
  }
  return data;
}

Result<void> keep_manifest(const job::JobDirectory& directory, const std::string& manifest,
                           EventLog& events) {
  if (const auto before = read_file(directory.data_manifest()); before && *before != manifest) {
    events.warn("the data are not those of this job's earlier run; compare " +
                directory.data_manifest().filename().string() + " and " +
                directory.data_manifest_before().filename().string());
    auto kept = write_file_atomically(directory.data_manifest_before(), *before);
    if (!kept) return kept;
  }
  return write_file_atomically(directory.data_manifest(), manifest);
}

}  // namespace tristill::train
