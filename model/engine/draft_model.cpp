#include "model/engine/draft_model.h"

#include <algorithm>
#include <utility>

#include "model/engine/sequence.h"

namespace tristill::engine {
namespace {

constexpr uint32_t kReadTokens = 256;  // of a text, read in one step at most

}  // namespace

DraftModel::DraftModel(std::shared_ptr<const Model> model, Device device, KvFormat format,
                       uint32_t n_blocks, ThreadTeam& team)
    : model_(std::move(model)),
      team_(team),
      cache_(model_->config, n_blocks, format),
      backend_(make_backend(device, model_, cache_, team, model_->config.max_context)) {}

void DraftModel::guess(std::span<const Wanted> wanted) {
  drafting_.clear();
  for (const Wanted& one : wanted) {
    if (follow(*one.sequence, one.most)) drafting_.push_back({one.sequence, one.most, false, 0});
  }
  while (!drafting_.empty()) {
    const ThreadTeam::Turn turn(team_);
    forward();
    take_greatest();
  }
}

// Brings what is known of the sequence up to its text; false where there is no room for it.
bool DraftModel::follow(Sequence& sequence, uint32_t most) {
  const std::vector<TokenId>& text = sequence.tokens;
  DraftedText& drafted = sequence.drafted;
  const size_t end = text.size() + most;
  if (most == 0 || end > model_->config.max_context) return false;
  const auto known = static_cast<std::ptrdiff_t>(drafted.n_confirmed);
  const auto differs = std::mismatch(drafted.tokens.begin() + known, drafted.tokens.end(),
                                     text.begin() + known, text.end());
  drafted.tokens.erase(differs.first, drafted.tokens.end());
  drafted.n_computed = std::min({drafted.n_computed, static_cast<uint32_t>(drafted.tokens.size()),
                                 static_cast<uint32_t>(text.size()) - 1});
  drafted.tokens.insert(drafted.tokens.end(), differs.second, text.end());
  drafted.n_confirmed = static_cast<uint32_t>(text.size());
  while (drafted.blocks.size() < kv_blocks_for(static_cast<uint32_t>(end))) {
    if (cache_.n_free() == 0) return release(sequence), false;
    drafted.blocks.push_back(cache_.acquire());
  }
  return true;
}

// What is missing of every text, in one batch. A text that is not read to its end gives no guess.
void DraftModel::forward() {
  segments_.clear();
  uint32_t row = 0;
  for (Drafting& one : drafting_) {
    DraftedText& drafted = one.sequence->drafted;
    const auto missing = std::span<const TokenId>(drafted.tokens).subspan(drafted.n_computed);
    const auto n = std::min<uint32_t>(kReadTokens, static_cast<uint32_t>(missing.size()));
    segments_.push_back({missing.first(n), drafted.n_computed, drafted.blocks});
    drafted.n_computed += n;
    row += n;
    one.row = row - 1;
    one.caught_up = n == missing.size();
  }
  backend_->forward(segments_);
  std::erase_if(drafting_, [](const Drafting& one) { return !one.caught_up; });
}

void DraftModel::take_greatest() {
  if (drafting_.empty()) return;
  rows_.clear();
  for (const Drafting& one : drafting_) rows_.push_back(one.row);
  const auto greatest = backend_->greatest(rows_);
  for (size_t i = 0; i < drafting_.size(); ++i) {
    Drafting& one = drafting_[i];
    if (greatest[i] == kNoToken) {
      one.most = 0;
      continue;
    }
    one.sequence->guess.push_back(greatest[i]);
    one.sequence->drafted.tokens.push_back(greatest[i]);
  }
  std::erase_if(drafting_,
                [](const Drafting& one) { return one.sequence->guess.size() >= one.most; });
}

void DraftModel::release(Sequence& sequence) {
  for (const KvBlockId block : sequence.drafted.blocks) cache_.release(block);
  sequence.drafted = {};
}

}  // namespace tristill::engine
