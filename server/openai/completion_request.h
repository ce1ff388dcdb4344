// CompletionRequest: the body of POST /v1/completions, checked. Holding one is proof that every
// value is of the right type and in range; whether it fits a model is the route's to say.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "model/engine/engine.h"

namespace tristill::openai {

// One prompt: text, token ids, or a mix of both in order.
struct PromptPart {
  std::string text;  // used when is_text
  std::vector<TokenId> ids;
  bool is_text = true;
  std::string path = "prompt";  // where ids is in the body; of an id alone, the id
  bool is_element = false;      // an id alone in a mixed list

  // The path of ids[i], for errors: "prompt[3]".
  std::string path_of(size_t i) const {
    return is_element ? path : path + "[" + std::to_string(i) + "]";
  }
};
using Prompt = std::vector<PromptPart>;

struct CompletionRequest {
  std::string model;  // empty: not given
  std::vector<Prompt> prompts;
  std::optional<std::string> suffix;  // not empty
  uint32_t max_tokens = 16;
  engine::SamplingParams sampling;
  std::optional<int64_t> seed;
  uint32_t n = 1;
  uint32_t best_of = 1;
  std::vector<std::string> stop;
  std::vector<TokenId> stop_tokens;
  std::optional<uint32_t> logprobs;
  bool echo = false;
  bool ignore_eos = false;
  bool stream = false;
  bool include_usage = false;
  std::string prediction;  // of the output; empty: none
  int32_t priority = 0;
  std::vector<std::string> ignored;  // fields that mean nothing here
};

// Errors: invalid_argument with the field's path as param.
Result<CompletionRequest> parse_completion_request(std::string_view json);

constexpr uint32_t kMaxChoices = 128;
constexpr uint32_t kMaxLogprobs = 20;
constexpr size_t kMaxPrompts = 128;
constexpr size_t kMaxStops = 32;
constexpr size_t kMaxStopBytes = 1024;
constexpr int32_t kMaxPriority = 1000;

}  // namespace tristill::openai
