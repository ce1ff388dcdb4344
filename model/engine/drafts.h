// Drafter: guesses how a text goes on, for the engine to verify in one step. Guesses come from a
// prediction of the output that the client gave, then from what followed the longest earlier
// occurrence of the last tokens (prompt lookup: Saxena 2023; Yang et al. 2023, arXiv 2304.04487).
// A guess costs a row of a step when it is wrong and saves a step when it is right; how many are
// made follows how many were right. The engine's thread alone.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "model/tokenizer/tokenizer.h"

namespace tristill::engine {

class Drafter {
 public:
  // most: tokens a guess holds at most; 0 never guesses. prediction: tokens of the whole output as
  // the client expects it, or empty.
  Drafter(uint32_t most, std::vector<TokenId> prediction);

  // At most `limit` tokens that may follow tokens (prompt and output). tokens grows from call to
  // call and is never changed.
  std::span<const TokenId> guess(std::span<const TokenId> tokens, uint32_t n_prompt,
                                 uint32_t limit);

  // How many tokens are worth guessing now, if someone else can; 0 while guesses keep being wrong.
  uint32_t length() const { return pause_ > 0 ? 0 : length_; }

  // Of the last guess, n_right tokens were right.
  void learn(uint32_t n_guessed, uint32_t n_right);

 private:
  static constexpr uint32_t kLeastMatch = 2;
  static constexpr uint32_t kMostMatch = 4;

  void index(std::span<const TokenId> tokens);
  void follow_prediction(std::span<const TokenId> output);
  size_t find_in_history(std::span<const TokenId> tokens) const;

  uint32_t most_;
  uint32_t length_;  // of the next guess
  uint32_t pause_ = 0;  // steps without a guess
  uint32_t misses_ = 0;  // guesses in a row of which nothing was right
  std::vector<TokenId> prediction_;
  size_t predicted_ = 0;  // the output agrees with the prediction up to here
  size_t n_followed_ = 0;  // output tokens that have been compared
  bool in_step_ = true;  // the last output token is the prediction's at predicted_ - 1
  size_t n_indexed_ = 0;
  // Hash of the kLeastMatch .. kMostMatch tokens before a position -> the latest such position.
  std::unordered_map<uint64_t, uint32_t> positions_[kMostMatch - kLeastMatch + 1];
  std::vector<TokenId> guess_;
};

}  // namespace tristill::engine
