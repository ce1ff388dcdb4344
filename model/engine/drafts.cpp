#include "model/engine/drafts.h"

#include <algorithm>

namespace tristill::engine {
namespace {

constexpr uint32_t kFirstLength = 3;
constexpr uint32_t kLongestPause = 32;
constexpr size_t kResyncMatch = 3;  // output tokens that must occur in the prediction

uint64_t hash_of(std::span<const TokenId> tokens) {
  uint64_t hash = 0x9E3779B97F4A7C15ULL;
  for (const TokenId token : tokens) {
    hash = (hash ^ static_cast<uint32_t>(token)) * 0xBF58476D1CE4E5B9ULL;
    hash ^= hash >> 29;
  }
  return hash;
}

}  // namespace

Drafter::Drafter(uint32_t most, std::vector<TokenId> prediction)
    : most_(most), length_(std::min(most, kFirstLength)), prediction_(std::move(prediction)) {
  if (!prediction_.empty()) length_ = most;
}

// Position p is known by the tokens before it as soon as the token at p exists.
void Drafter::index(std::span<const TokenId> tokens) {
  for (; n_indexed_ < tokens.size(); ++n_indexed_) {
    for (uint32_t n = kLeastMatch; n <= kMostMatch && n <= n_indexed_; ++n) {
      positions_[n - kLeastMatch][hash_of(tokens.subspan(n_indexed_ - n, n))] =
          static_cast<uint32_t>(n_indexed_);
    }
  }
}

// Where the text goes on that stood before the end of tokens, or 0: the longest match wins.
size_t Drafter::find_in_history(std::span<const TokenId> tokens) const {
  for (uint32_t n = std::min<uint32_t>(kMostMatch, static_cast<uint32_t>(tokens.size()));
       n >= kLeastMatch; --n) {
    const auto last = tokens.last(n);
    const auto found = positions_[n - kLeastMatch].find(hash_of(last));
    if (found == positions_[n - kLeastMatch].end()) continue;
    const auto before = tokens.subspan(found->second - n, n);
    if (std::equal(before.begin(), before.end(), last.begin())) return found->second;
  }
  return 0;
}

// Steps along while the output is as predicted; after a difference looks ahead for the place where
// the prediction holds the last output tokens.
void Drafter::follow_prediction(std::span<const TokenId> output) {
  for (; n_followed_ < output.size(); ++n_followed_) {
    if (predicted_ < prediction_.size() && prediction_[predicted_] == output[n_followed_]) {
      ++predicted_;
      in_step_ = true;
      continue;
    }
    in_step_ = false;
    const auto so_far = output.first(n_followed_ + 1);
    if (so_far.size() < kResyncMatch) continue;
    const auto last = so_far.last(kResyncMatch);
    const auto from =
        prediction_.begin() + static_cast<std::ptrdiff_t>(std::min(predicted_, prediction_.size()));
    const auto at = std::search(from, prediction_.end(), last.begin(), last.end());
    if (at == prediction_.end()) continue;
    predicted_ = static_cast<size_t>(at - prediction_.begin()) + kResyncMatch;
    in_step_ = true;
  }
}

std::span<const TokenId> Drafter::guess(std::span<const TokenId> tokens, uint32_t n_prompt,
                                        uint32_t limit) {
  guess_.clear();
  if (most_ == 0 || tokens.empty()) return guess_;
  follow_prediction(tokens.subspan(n_prompt));
  index(tokens);
  const size_t n = std::min(length_, limit);
  if (in_step_ && predicted_ < prediction_.size()) {
    const size_t end = std::min(predicted_ + n, prediction_.size());
    guess_.assign(prediction_.begin() + static_cast<std::ptrdiff_t>(predicted_),
                  prediction_.begin() + static_cast<std::ptrdiff_t>(end));
    return guess_;
  }
  if (pause_ > 0) {
    --pause_;
    return guess_;
  }
  const size_t at = find_in_history(tokens);
  if (at == 0) return guess_;
  const auto rest = tokens.subspan(at);
  // A text that repeats itself goes round in its own end.
  for (size_t i = 0; i < n; ++i) guess_.push_back(rest[i % rest.size()]);
  return guess_;
}

void Drafter::learn(uint32_t n_guessed, uint32_t n_right) {
  if (n_guessed == 0) return;
  if (n_right == n_guessed) {
    length_ = std::min(most_, 2 * length_);
  } else {
    length_ = std::max(1U, std::min(length_, n_right + 1));
  }
  misses_ = n_right == 0 ? misses_ + 1 : 0;
  if (misses_ > 1) pause_ = std::min(kLongestPause, 1U << std::min(misses_, 5U));
}

}  // namespace tristill::engine
