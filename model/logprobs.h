// Log-probabilities of one row of raw logits. Plain functions of the logits: any thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/tokenizer/tokenizer.h"

namespace tristill {

struct TokenLogprob {
  TokenId token;
  float logprob;  // natural log of softmax(raw logits), before any filter
};

// log softmax of a row; a token's value is the same float wherever it is asked for.
class LogSoftmax {
 public:
  // scratch is overwritten and no longer needed after construction; logits are borrowed.
  // Throws std::runtime_error when the logits are not finite.
  LogSoftmax(std::span<const float> logits, std::vector<float>& scratch);

  float at(TokenId token) const;
  // The n most likely tokens, best first, ties by lower id.
  std::vector<TokenLogprob> top(uint32_t n) const;
  // What random draws from the distribution gave, one for each of `uniforms` in [0, 1): the log of
  // each token's share of the draws, the most frequent first, ties by lower id. Uniforms and
  // scratch are overwritten.       Anshumann et al. 2025, sparse logit sampling (RS-KD), q = p
  std::vector<TokenLogprob> draw(std::span<double> uniforms, std::vector<float>& scratch) const;
  // Log of what the tokens have together that are neither `token` nor in `top`: summed over them,
  // not 1 minus the others, so that a small rest is exact too. -infinity when there are none, or
  // when none of them is possible. scratch is overwritten.
  float other(TokenId token, std::span<const TokenLogprob> top, std::vector<float>& scratch) const;

 private:
  std::span<const float> logits_;
  float max_;
  double log_sum_;
};

// The most likely token, the lowest id on ties; kNoToken when none is finite.
TokenId greatest_of(std::span<const float> logits);
// The same. Throws std::runtime_error when none is finite.
TokenId most_likely(std::span<const float> logits);

}  // namespace tristill
