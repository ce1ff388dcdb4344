#include "train/run/training_corpora.h"

#include <ATen/Parallel.h>

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "model/threads.h"
#include "train/data/near_duplicates.h"
#include "train/run/phase_progress.h"

namespace tristill::train {
namespace {

using Split = job::ManifestLine::Split;

constexpr size_t kPassDocuments = 1024;  // looked at between two looks at the clock

Result<std::vector<Corpus>> read_all(const job::JobFile& file, const job::DataSpec& data,
                                     EventLog& events) {
  std::vector<std::vector<SourceFile>> lists;
  double bytes = 0;
  for (const job::ResolvedCorpus& wanted : file.corpora) {
    auto files = list_files(wanted);
    if (!files) return files.error();
    for (const SourceFile& one : *files) bytes += static_cast<double>(one.bytes);
    lists.push_back(std::move(*files));
  }
  PhaseProgress progress(events, "reading data", bytes);
  std::vector<Corpus> corpora;
  for (size_t i = 0; i < lists.size(); ++i) {
    auto corpus = read_corpus(
        file.corpora[i], lists[i],
        {.held_out = data.held_out, .licenses = data.licenses, .on_read = [&](uint64_t n) {
           progress.add(static_cast<double>(n));
         }});
    if (!corpus) return corpus.error();
    corpora.push_back(std::move(*corpus));
  }
  return corpora;
}

// For each document whether it is a near copy of a held-out one.
std::vector<uint8_t> near_copies(const std::vector<Document>& documents,
                                 const NearDuplicates& held_out, ThreadTeam& team,
                                 PhaseProgress& progress) {
  std::vector<uint8_t> copies(documents.size());
  for (size_t first = 0; first < documents.size(); first += kPassDocuments) {
    const size_t n = std::min(kPassDocuments, documents.size() - first);
    team.run(static_cast<uint32_t>(n), [&](uint32_t part, uint32_t) {
      const Document& document = documents[first + part];
      copies[first + part] = !document.held_out && held_out.find(document.text) ? 1 : 0;
    });
    progress.add(static_cast<double>(n));
  }
  return copies;
}

void remove_copies(Corpus& corpus, const std::vector<uint8_t>& copies) {
  std::vector<Document> kept;
  for (size_t i = 0; i < copies.size(); ++i) {
    Document& document = corpus.documents[i];
    job::ManifestLine& line = corpus.files[document.file];
    if (copies[i] == 0) {
      kept.push_back(std::move(document));
      continue;
    }
    ++line.near_duplicates;
    if (line.train_samples > 0) --line.train_samples;  // of JSON Lines
    if (line.train_samples > 0) continue;
    line.split = line.held_out_samples > 0 ? Split::held_out : Split::skipped;
    if (line.split == Split::skipped) line.reason = "near_duplicate";
  }
  corpus.documents = std::move(kept);
}

bool trains(const Corpus& corpus) {
  return std::ranges::any_of(corpus.documents, [](const auto& d) { return !d.held_out; });
}

Result<void> drop_near_duplicates(const job::JobFile& file, double threshold,
                                  std::vector<Corpus>& corpora, EventLog& events) {
  std::vector<std::string_view> held_out;
  double n_documents = 0;
  for (const Corpus& corpus : corpora) {
    n_documents += static_cast<double>(corpus.documents.size());
    for (const Document& document : corpus.documents) {
      if (document.held_out) held_out.push_back(document.text);
    }
  }
  if (threshold == 0 || held_out.empty()) return {};
  PhaseProgress progress(events, "finding near duplicates", n_documents);
  const NearDuplicates index(held_out, threshold);
  ThreadTeam team(static_cast<uint32_t>(at::get_num_threads()));
  for (size_t i = 0; i < corpora.size(); ++i) {
    remove_copies(corpora[i], near_copies(corpora[i].documents, index, team, progress));
    if (trains(corpora[i])) continue;
    return Error{ErrorCode::invalid_argument,
                 "corpus " + file.corpora[i].source.name +
                     ": each document is a near duplicate of a held-out one; raise "
                     "data.near_duplicate, or set it to 0 to train on copies",
                 "data.near_duplicate"};
  }
  return {};
}

void report(const Corpus& corpus, EventLog& events) {
  std::map<std::string, double> numbers = {{"files", static_cast<double>(corpus.files.size())}};
  for (const char* name :
       {"documents", "bytes", "held_out_documents", "held_out_bytes", "skipped_size",
        "skipped_not_text", "skipped_license", "skipped_duplicate", "skipped_near_duplicate"}) {
    numbers[name] = 0;
  }
  for (const Document& document : corpus.documents) {
    const std::string kind = document.held_out ? "held_out_" : "";
    ++numbers[kind + "documents"];
    numbers[kind + "bytes"] += static_cast<double>(document.text.size());
  }
  for (const job::ManifestLine& line : corpus.files) {
    const auto lines = static_cast<double>(line.duplicates + line.near_duplicates);
    numbers["skipped_duplicate"] += static_cast<double>(line.duplicates);
    numbers["skipped_near_duplicate"] += static_cast<double>(line.near_duplicates);
    if (!line.reason.empty() && lines == 0) ++numbers["skipped_" + line.reason];
    ++numbers["license " + line.license];
  }
  events.write({.type = job::EventType::log,
                .message = "read corpus " + corpus.files.front().corpus,
                .numbers = std::move(numbers)});
}

}  // namespace

Result<std::vector<Corpus>> read_training_corpora(const job::JobFile& file,
                                                  const job::DataSpec& data, EventLog& events) {
  auto corpora = read_all(file, data, events);
  if (!corpora) return corpora;
  if (auto done = drop_near_duplicates(file, data.near_duplicate, *corpora, events); !done)
    return done.error();
  for (const Corpus& corpus : *corpora) report(corpus, events);
  return corpora;
}

}  // namespace tristill::train
