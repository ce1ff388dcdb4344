#include "train/run/training_traces.h"

#include <cmath>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/file_digest.h"
#include "train/trace/shard.h"

namespace tristill::train {
namespace {

constexpr double kMassSlack = 1e-3;  // of a list's probabilities, as trace lines allow

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

// Of the bytes that were read: a shard may grow meanwhile.
Result<job::ManifestLine> manifest_line(const std::string& path, uint64_t bytes) {
  const auto read = digest_of_file(path, bytes);
  if (!read) return Error{read.error().code, read.error().message, "data.traces"};
  return job::ManifestLine{.corpus = "traces",
                           .path = path.substr(path.rfind('/') + 1),
                           .sha256 = to_hex(read->digest),
                           .bytes = read->bytes};
}

}  // namespace

Result<TrainingTraces> read_training_traces(const job::JobFile& file, const Tokenizer& tokenizer) {
  TrainingTraces out;
  TokenSource& source = out.source;
  source.name = "traces";
  source.is_trace = true;
  source.weight = file.train().data.trace_weight;
  Result<void> bad;
  for (const std::string& path : file.trace_shards) {
    const auto vocab = static_cast<int32_t>(file.train().model.vocab_size);
    const size_t n_tokens = source.tokens.size();
    const size_t n_listed = source.top_ids.size();
    auto summary = trace::read_shard(path, [&](trace::Record&& record) {
      if (bad) bad = check_trace(record, tokenizer, file.train().loss.distillation.tail);
      if (bad && record.tokens.size() >= 2) source.add_trace(record);
    });
    if (!summary) return summary.error();
    if (summary->damaged_at) {
      Error damaged = trace::damaged_shard(path, *summary->damaged_at);
      damaged.param = "data.traces";
      return damaged;
    }
    if (!bad) return bad.error();
    for (const int32_t id : std::span(source.tokens).subspan(n_tokens)) {
      if (id < 0 || id >= vocab) {
        return Error{ErrorCode::corrupt, "trace token outside the vocabulary in " + path,
                     "data.traces"};
      }
    }
    for (const int32_t id : std::span(source.top_ids).subspan(n_listed)) {
      if (id < 0 || id >= vocab) {
        return Error{ErrorCode::corrupt, "trace candidate outside the vocabulary in " + path,
                     "data.traces"};
      }
    }
    auto line = manifest_line(path, summary->bytes);
    if (!line) return line.error();
    out.files.push_back(std::move(*line));
    out.ends.push_back(source.documents());
  }
  return out;
}

}  // namespace tristill::train
