// CompletionRequest: what the body of every route that makes text becomes, checked. Holding one is
// proof that every value is of the right type and in range; whether it fits a model is seen when
// it is submitted. The readers here are shared by all dialects.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "model/engine/engine.h"
#include "server/openai/prompt.h"

namespace tristill::openai {

// Other files beside the one that is edited.
struct ContextFile {
  std::string name, text;
};

// Fill in the middle: what is before and after the gap.
struct Gap {
  std::string prefix, suffix;
  std::vector<ContextFile> files;
  bool may_cut = false;  // what is far from the gap is left out where the context is too small
};

struct CompletionRequest {
  std::string model;             // empty: not given
  std::vector<Prompt> prompts;   // not used with gap
  std::optional<Gap> gap;
  uint32_t max_tokens = 16;
  bool until_context = false;  // no limit was given where none is the default: the context is it
  engine::SamplingParams sampling;
  std::vector<std::pair<std::string, float>> text_bias;  // of every token of a text
  std::optional<int64_t> seed;
  uint32_t n = 1;
  uint32_t best_of = 1;  // at least n
  std::vector<std::string> stop;
  bool show_stop = false;  // the stop text is part of the answer
  uint32_t min_indent = 0;  // a line that is indented less ends the text before it
  std::vector<TokenId> stop_tokens;
  uint32_t min_tokens = 0;
  std::optional<uint32_t> logprobs;
  uint32_t logprob_draws = 0;  // not 0: lists hold random draws, not the likeliest
  bool other_logprobs = false;
  bool ids_as_tokens = false;  // logprobs name tokens "token_id:N"
  bool echo = false;
  bool ignore_eos = false;
  bool embed = false;  // nothing is generated: the prompt's embedding is wanted
  bool stream = false;
  bool include_usage = false;
  bool continuous_usage = false;  // also in every chunk
  std::string prediction;         // of the output; empty: none
  std::shared_ptr<const Grammar> grammar;  // of the output; null: any
  std::optional<uint32_t> truncate_prompt;  // only so many of its last tokens
  std::optional<std::chrono::milliseconds> max_prefill, max_decode;
  int32_t priority = 0;
  std::string session;               // of an editor: its newer request ends the older
  std::vector<std::string> ignored;  // fields that mean nothing here

  bool is_deterministic() const { return sampling.temperature == 0 || seed.has_value(); }
};

constexpr uint32_t kMaxChoices = 128;
constexpr uint32_t kMaxBestOf = 20;
constexpr uint32_t kMaxLogprobs = 20;
constexpr size_t kMaxStops = 32;
constexpr size_t kMaxStopBytes = 1024;
constexpr int32_t kMaxPriority = 1000;

// The body of POST /v1/completions. strict: only what the specification has, as it has it.
// Errors: invalid_argument with the field's path as param.
Result<CompletionRequest> parse_completion_request(std::string_view json, bool strict = false);

// model, temperature, penalties, seed, stops, limits of time: what every dialect has in common.
void read_common(Fields& fields, CompletionRequest& request);
// stream and stream_options.
void read_stream(Fields& fields, CompletionRequest& request, bool strict);
// {"type": "content", "content": text, or a list of {"type": "text", "text"} parts}.
void read_prediction(Fields& fields, CompletionRequest& request);
// An integer that may also be -1, which stands for "not limited": then target is not touched.
void read_limit(Fields& fields, const char* name, int64_t high, uint32_t& target);

// What is right alone but wrong together; fills best_of. Errors: as above.
Result<void> check_together(CompletionRequest& request, bool strict);

// The remaining names of the body, and the error of the fields if there is one.
Result<void> finish_reading(Fields& fields, CompletionRequest& request, bool strict = false);

}  // namespace tristill::openai
