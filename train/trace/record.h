// One teacher answer with its probabilities: what POST /traces takes a line, what a shard stores,
// what a train job learns from. Plain data.
//
// JSON Lines form (one object a line; unknown fields refused by name):
//   {"tokenizer": "<sha256 hex of the tokenizer>", "teacher": "name",
//    "sampling": "corpus" | "greedy" | "t1",
//    "prompt_tokens": 12,                  how many of tokens were given, not produced: of greedy
//                  and t1 only such of them are learned as have an entry in top_logprobs
//    "tokens": [ids...],
//    "top_logprobs": [null, [[id, logprob], ...], ...],   one entry a token: the teacher's
//                  distribution over the token at that position given those before; null where
//                  unknown (always so for the first). Natural logarithms, at temperature 1.
//    "text": "...",                        optional: the decoded tokens, for readers
//    "token_logprobs": [...], "other_logprobs": [...]}    optional, as POST /v1/score answers them
// P(other) of a position is what the listed probabilities leave to 1.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tristill::trace {

enum class Sampling : uint8_t {
  corpus,  // text from elsewhere, scored by the teacher
  greedy,  // the teacher's argmax
  t1,      // sampled from the teacher at temperature 1
};

struct TopLogprob {
  int32_t token;
  float logprob;  // <= 0
};

struct Record {
  std::string tokenizer;  // fingerprint, 64 hex digits
  std::string teacher;
  Sampling sampling = Sampling::t1;
  uint32_t prompt_tokens = 0;
  std::vector<int32_t> tokens;
  // One list a token; empty where the teacher's distribution is unknown. Distinct ids.
  std::vector<std::vector<TopLogprob>> top_logprobs;
};

constexpr size_t kMaxTopLogprobs = 64;
constexpr size_t kMaxRecordTokens = 1 << 20;

}  // namespace tristill::trace
