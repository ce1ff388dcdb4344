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

class GrammarState;

// All filters apply in this order: logit_bias, repetition, presence, frequency penalties, grammar,
// temperature, top_k, typical_p, min_p, top_p. temperature 0 is greedy: argmax, lowest id on ties.
struct SamplingParams {
  float temperature = 1.0F;         // [0, 2]
  float top_p = 1.0F;               // (0, 1]
  float typical_p = 1.0F;           // (0, 1] (Meister et al. 2023, locally typical sampling)
  float min_p = 0.0F;               // [0, 1], of the probability of the most likely token left
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
  std::vector<double> oddity;  // of candidates: how far from typical
  std::vector<uint32_t> order;
};

class Sampler {
 public:
  Sampler(const SamplingParams& params, std::span<const TokenId> prompt);

  // These tokens, eos and the like, are not chosen at output positions below `position`.
  void ban_before(uint64_t position, std::vector<TokenId> tokens);

  // The token at output position `position`; of those that the grammar allows, where there is one,
  // and kNoToken when none is left. Throws std::runtime_error on logits without a finite maximum,
  // when no token is left to choose without a grammar, and what GrammarState throws.
  TokenId sample(std::span<const float> logits, uint64_t position, SamplerScratch& scratch,
                 GrammarState* grammar = nullptr) const;

  // Whether it chooses the greatest logit, whatever the others are, at output position `position`
  // and all later ones, unless a grammar forbids it.
  bool is_greedy_from(uint64_t position) const {
    return params_.temperature == 0.0F && params_.logit_bias.empty() && !penalizes() &&
           position >= ban_end_;
  }

  // The token was emitted: later choices see it in their penalties.
  void accept(TokenId token);

 private:
  bool penalizes() const;
  void adjust(std::span<float> logits, uint64_t position) const;
  TokenId draw(uint64_t position, SamplerScratch& scratch) const;

  SamplingParams params_;
  std::vector<TokenId> banned_;  // at output positions below ban_end_
  uint64_t ban_end_ = 0;
  // Tokens of prompt and output, each with its count in the output; empty without penalties.
  std::unordered_map<TokenId, uint32_t> seen_;
};

}  // namespace tristill
