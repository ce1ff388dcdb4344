// Sampler: chooses the next token of one sequence from raw logits. One thread.
// A choice is a function of the logits, the parameters, the tokens so far and the position.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "model/tokenizer/tokenizer.h"

namespace tristill {

// All filters apply in this order: logit_bias, repetition, presence, frequency penalties,
// temperature, top_k, min_p, top_p. temperature 0 is greedy: argmax, lowest id on ties.
struct SamplingParams {
  float temperature = 1.0F;         // [0, 2]
  float top_p = 1.0F;               // (0, 1]
  float min_p = 0.0F;               // [0, 1], of the most likely token's probability
  uint32_t top_k = 0;               // 0 is off
  float repetition_penalty = 1.0F;  // > 0, over prompt and output (Keskar et al. 2019)
  float presence_penalty = 0.0F;    // [-2, 2], over the output
  float frequency_penalty = 0.0F;   // [-2, 2], over the output
  std::vector<std::pair<TokenId, float>> logit_bias = {};
  uint64_t seed = 0;    // the draw at output position p is f(seed, stream, p)
  uint64_t stream = 0;  // the choice's index: n choices of one seed differ
};

// Memory that samplers of one thread share.
struct SamplerScratch {
  std::vector<float> logits;
  std::vector<float> weights;
  std::vector<TokenId> candidates;
};

class Sampler {
 public:
  Sampler(const SamplingParams& params, std::span<const TokenId> prompt);

  // The token at output position `position`. Throws std::runtime_error on logits without a finite
  // maximum.
  TokenId sample(std::span<const float> logits, uint64_t position, SamplerScratch& scratch) const;

  // Whether it chooses the greatest logit, whatever the others are.
  bool is_greedy() const {
    return params_.temperature == 0.0F && params_.logit_bias.empty() && !penalizes();
  }

  // The token was emitted: later choices see it in their penalties.
  void accept(TokenId token);

 private:
  bool penalizes() const;
  void adjust(std::span<float> logits) const;
  TokenId draw(uint64_t position, SamplerScratch& scratch) const;

  SamplingParams params_;
  // Tokens of prompt and output, each with its count in the output; empty without penalties.
  std::unordered_map<TokenId, uint32_t> seen_;
};

}  // namespace tristill
