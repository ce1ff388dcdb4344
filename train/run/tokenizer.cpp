#include "train/run/tokenizer.h"

#include <string_view>

#include "base/atomic_file.h"
#include "base/sha256.h"
#include "model/tokenizer/tokenizer.h"
#include "train/data/sentencepiece_train.h"
#include "train/run/phase_progress.h"
#include "train/run/training_corpora.h"

namespace tristill::train {
namespace {

// How many bytes of text a token stands for, over what was held out.
double bytes_per_token(const Tokenizer& tokenizer, const std::vector<Corpus>& corpora) {
  double bytes = 0;
  double tokens = 0;
  for (const Corpus& corpus : corpora) {
    for (const Document& document : corpus.documents) {
      if (!document.held_out) continue;
      bytes += static_cast<double>(document.text.size());
      tokens += static_cast<double>(tokenizer.encode(document.text).size());
    }
  }
  return tokens > 0 ? bytes / tokens : 0;
}

}  // namespace

Result<std::string> train_tokenizer(const job::JobDirectory& directory,
                                    const std::vector<Corpus>& corpora,
                                    const job::TokenizerSpec& spec, EventLog& events) {
  if (auto bytes = read_file(directory.tokenizer())) return bytes;
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
  // The library does not say how far it is.
  const PhaseProgress progress(events, "training tokenizer", 0);
  auto model = train_sentencepiece(texts, spec.vocab_size, directory.root);
  if (!model) return model;
  if (auto written = write_file_atomically(directory.tokenizer(), *model); !written) {
    return written.error();
  }
  return model;
}

Result<Outcome> run_tokenizer(const job::JobDirectory& directory, const job::JobFile& file,
                              EventLog& events) {
  const auto& spec = std::get<job::TokenizerJob>(file.spec);
  const auto corpora = read_training_corpora(file, spec.data, events);
  if (!corpora) return corpora.error();
  const auto pieces = train_tokenizer(directory, *corpora, spec.tokenizer, events);
  if (!pieces) return pieces.error();
  const auto tokenizer = Tokenizer::from_sentencepiece(*pieces);
  if (!tokenizer) return tokenizer.error();
  events.write({.type = job::EventType::metrics,
                .message = "tokenizer",
                .numbers = {{"vocab_size", static_cast<double>((*tokenizer)->vocab_size())},
                            {"held_out_bytes_per_token", bytes_per_token(**tokenizer, *corpora)}}});
  events.write({.type = job::EventType::artifact,
                .message = "tokenizer",
                .numbers = {{"bytes", static_cast<double>(pieces->size())}},
                .texts = {{"kind", "tokenizer"},
                          {"path", directory.tokenizer().filename().string()},
                          {"sha256", to_hex(sha256(*pieces))}}});
  return Outcome{Outcome::succeeded, {}};
}

}  // namespace tristill::train
