#include "train/run/leaked_traces.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <mutex>
#include <span>
#include <string>
#include <string_view>

#include "model/threads.h"
#include "train/data/containment.h"

namespace tristill::train {
namespace {

std::vector<std::string_view> texts_of(const std::vector<Corpus>& corpora, bool held_out) {
  std::vector<std::string_view> texts;
  for (const Corpus& corpus : corpora) {
    for (const Document& document : corpus.documents) {
      if (document.held_out == held_out) texts.push_back(document.text);
    }
  }
  return texts;
}

std::string text_of(const TokenSource& source, size_t document, const Tokenizer& tokenizer) {
  const size_t first = source.starts[document];
  return tokenizer.decode(
      std::span(source.tokens).subspan(first, source.starts[document + 1] - first));
}

// For each piece whether a document holds it.
std::vector<uint8_t> held(const std::vector<std::string>& pieces,
                          const std::vector<std::string_view>& documents, double threshold,
                          ThreadTeam& team) {
  const RunIndex index(std::vector<std::string_view>(pieces.begin(), pieces.end()));
  std::vector<uint8_t> found(pieces.size());
  std::mutex mutex;
  team.run(static_cast<uint32_t>(documents.size()), [&](uint32_t part, uint32_t) {
    const auto here = index.held_by(documents[part], threshold);
    const std::lock_guard lock(mutex);
    for (const size_t piece : here) found[piece] = 1;
  });
  return found;
}

}  // namespace

size_t remove_leaked_traces(TrainingTraces& traces, const std::vector<Corpus>& corpora,
                            const Tokenizer& tokenizer, double threshold) {
  TokenSource& source = traces.source;
  const auto held_out = texts_of(corpora, /*held_out=*/true);
  if (source.documents() == 0 || held_out.empty() || threshold == 0) return 0;
  ThreadTeam team(static_cast<uint32_t>(at::get_num_threads()));
  const RunIndex index(held_out);
  std::vector<uint8_t> is_leaked(source.documents());
  team.run(static_cast<uint32_t>(source.documents()), [&](uint32_t part, uint32_t) {
    const double share = index.containment(text_of(source, part, tokenizer));
    is_leaked[part] = share >= threshold ? 1 : 0;
  });
  std::vector<size_t> suspects;
  std::vector<std::string> texts;
  for (size_t d = 0; d < is_leaked.size(); ++d) {
    if (is_leaked[d] == 0) continue;
    suspects.push_back(d);
    texts.push_back(text_of(source, d, tokenizer));
  }
  if (suspects.empty()) return 0;
  const auto is_known = held(texts, texts_of(corpora, /*held_out=*/false), threshold, team);
  for (size_t i = 0; i < suspects.size(); ++i) {
    if (is_known[i] != 0) is_leaked[suspects[i]] = 0;
  }
  size_t first = 0;
  for (size_t file = 0; file < traces.files.size(); ++file) {
    const size_t end = traces.ends[file];
    traces.files[file].near_duplicates =
        static_cast<uint64_t>(std::count(is_leaked.begin() + static_cast<ptrdiff_t>(first),
                                         is_leaked.begin() + static_cast<ptrdiff_t>(end), 1));
    first = end;
  }
  source.remove(is_leaked);
  return static_cast<size_t>(std::ranges::count(is_leaked, 1));
}

}  // namespace tristill::train
