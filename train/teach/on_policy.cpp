#include "train/teach/on_policy.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/random.h"
#include "model/backend.h"
#include "model/sampler.h"
#include "train/export.h"

namespace tristill::train {
namespace {

constexpr int64_t kLeastPrompt = 8;  // tokens; from fewer there is nothing to go on

// A row that the student writes on.
struct Row {
  int64_t index = 0;   // in the batch
  int64_t prompt = 0;  // tokens that stay
  int64_t tokens = 0;  // written so far, the prompt included
  std::vector<KvBlockId> blocks;
};

bool has_list(const Batch& batch, int64_t row, int64_t columns) {
  const auto& rows = batch.teacher.rows;
  const auto found = std::ranges::lower_bound(rows, row * columns);
  return found != rows.end() && *found < (row + 1) * columns;
}

// Half of the first document's tokens in a row.
int64_t prompt_of(const Batch& batch, int64_t row) {
  const auto* starts = batch.segment_start.data_ptr<int32_t>() + row * batch.tokens.size(1);
  int64_t n = 0;
  while (n < batch.tokens.size(1) && starts[n] == starts[0]) ++n;
  return n / 2;
}

std::vector<Row> choose_rows(const Batch& batch, double share, const OwnWords& words) {
  std::vector<Row> rows;
  for (int64_t i = 0; i < batch.tokens.size(0); ++i) {
    const bool chosen = philox_uniform(words.seed, words.stream, static_cast<uint64_t>(i)) < share;
    const int64_t prompt = prompt_of(batch, i);
    if (!chosen || prompt < kLeastPrompt || has_list(batch, i, batch.tokens.size(1))) continue;
    rows.push_back({.index = i, .prompt = prompt, .tokens = prompt});
  }
  return rows;
}

// The student at work: all rows side by side, a token each a step.
class Writer {
 public:
  Writer(Batch& batch, const Student& student, std::vector<Row>& rows, double temperature,
         const OwnWords& words)
      : batch_(batch),
        rows_(rows),
        words_(words),
        columns_(batch.tokens.size(1)),
        model_(make_model("own words", model_file_of(student))),
        team_(static_cast<uint32_t>(at::get_num_threads())),
        cache_(model_->config, blocks_a_row() * static_cast<uint32_t>(rows.size())),
        backend_(
            make_backend(Device::cpu, model_, cache_, team_, static_cast<uint32_t>(columns_))) {
    for (Row& row : rows_) {
      for (uint32_t i = 0; i < blocks_a_row(); ++i) row.blocks.push_back(cache_.acquire());
      const uint64_t stream = words.stream * static_cast<uint64_t>(batch.tokens.size(0));
      samplers_.emplace_back(SamplingParams{.temperature = static_cast<float>(temperature),
                                            .seed = words.seed,
                                            .stream = stream + static_cast<uint64_t>(row.index)},
                             std::span<const TokenId>());
    }
  }

  void write() {
    std::vector<Step> steps;
    for (size_t i = 0; i < rows_.size(); ++i) steps.push_back({i, prompt_tokens(rows_[i]), 0});
    while (!steps.empty()) {
      const std::span<const float> logits = compute(steps);
      const size_t vocab = logits.size() / steps.size();
      std::vector<Step> next;
      for (size_t i = 0; i < steps.size(); ++i) {
        auto step = take_word(steps[i], logits.subspan(i * vocab, vocab));
        if (step) next.push_back(std::move(*step));
      }
      steps = std::move(next);
    }
  }

 private:
  // What a row brings to the next forward pass.
  struct Step {
    size_t row;
    std::vector<TokenId> tokens;
    uint32_t position;
  };

  static LoadedModelFile model_file_of(const Student& student) {
    LoadedModelFile file;
    file.tensors = to_model_tensors(student);
    return file;
  }
  uint32_t blocks_a_row() const { return kv_blocks_for(static_cast<uint32_t>(columns_)); }
  int64_t* ids(const torch::Tensor& tensor, const Row& row) const {
    return tensor.data_ptr<int64_t>() + row.index * columns_;
  }
  std::vector<TokenId> prompt_tokens(const Row& row) const {
    const int64_t* from = ids(batch_.tokens, row);
    return {from, from + row.prompt};
  }

  // The logits of each row's last token, one behind the other.
  std::span<const float> compute(const std::vector<Step>& steps) {
    std::vector<Segment> segments;
    std::vector<uint32_t> last_rows;
    uint32_t n_tokens = 0;
    for (const Step& step : steps) {
      segments.push_back({step.tokens, step.position, rows_[step.row].blocks});
      n_tokens += static_cast<uint32_t>(step.tokens.size());
      last_rows.push_back(n_tokens - 1);
    }
    backend_->forward(segments);
    return backend_->logits(last_rows);
  }

  // Draws the row's next token; the step that follows, or nothing when the row is full or ended.
  std::optional<Step> take_word(const Step& step, std::span<const float> logits) {
    Row& row = rows_[step.row];
    const auto position = static_cast<uint64_t>(row.tokens);
    const TokenId word = samplers_[step.row].sample(logits, position, scratch_);
    ids(batch_.labels, row)[row.tokens - 1] = word;
    batch_.dense.own[static_cast<size_t>(row.index * columns_ + row.tokens - 1)] = 1;
    if (word == words_.eos || row.tokens == columns_) return std::nullopt;
    ids(batch_.tokens, row)[row.tokens] = word;
    ++row.tokens;
    return Step{step.row, {word}, static_cast<uint32_t>(row.tokens - 1)};
  }

  Batch& batch_;
  std::vector<Row>& rows_;
  const OwnWords& words_;
  int64_t columns_;
  std::shared_ptr<const Model> model_;
  ThreadTeam team_;
  KvCache cache_;
  std::unique_ptr<Backend> backend_;
  std::vector<Sampler> samplers_;
  SamplerScratch scratch_;
};

// One segment as far as words go, padding behind it.
void close_row(Batch& batch, const Row& row, int64_t eos) {
  const int64_t columns = batch.tokens.size(1);
  auto* tokens = batch.tokens.data_ptr<int64_t>() + row.index * columns;
  auto* labels = batch.labels.data_ptr<int64_t>() + row.index * columns;
  auto* starts = batch.segment_start.data_ptr<int32_t>() + row.index * columns;
  std::fill(starts, starts + row.tokens, starts[0]);
  std::fill(starts + row.tokens, starts + columns, static_cast<int32_t>(row.tokens));
  std::fill(tokens + row.tokens, tokens + columns, eos);
  std::fill(labels + row.tokens, labels + columns, kNoLabel);
}

}  // namespace

void write_own_words(Batch& batch, const Student& student, const job::TeachingSpec& teaching,
                     const OwnWords& words) {
  batch.dense.own.assign(static_cast<size_t>(batch.tokens.numel()), 0);
  std::vector<Row> rows = choose_rows(batch, teaching.on_policy_share, words);
  if (rows.empty()) return;
  Writer(batch, student, rows, teaching.on_policy_temperature, words).write();
  for (const Row& row : rows) close_row(batch, row, words.eos);
}

}  // namespace tristill::train
