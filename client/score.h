// How likely a model finds a text: figures from its score. Pure functions.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace tristill::client {

struct Score {
  uint64_t tokens = 0;
  uint64_t scored_tokens = 0;    // with a probability: all but the first
  uint64_t bytes = 0;            // that the scored tokens stand for
  double log_likelihood = 0;     // natural logarithm, of the scored tokens
  double perplexity() const;     // exp(-log_likelihood / scored_tokens); 0 without any
  double bits_per_byte() const;  // -log_likelihood / (ln 2 * bytes); 0 without any
};

// From a record's token_logprobs: what is no number is not scored. bytes is not set.
Score score_of(const nlohmann::json& record);

// The tokens before the first that is scored: the model says nothing of them.
nlohmann::json unscored_of(const nlohmann::json& record);
// How many bytes of text they stand for, by their own text: the text begins with it, but for
// tokens of a part of a character, which are a byte each.
uint64_t unscored_bytes(std::string_view text, std::string_view own_text, size_t tokens);

// As if the texts were one.
Score& operator+=(Score& sum, const Score& score);

// The record as POST /traces takes it: without what scoring adds.
nlohmann::json trace_of(const nlohmann::json& record);

}  // namespace tristill::client
