// Choice: one completion being generated: its text so far, its log-probabilities, how it ended.
// One thread.
#pragma once

#include <deque>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "model/engine/engine.h"
#include "server/openai/shared_generation.h"
#include "server/openai/text_stream.h"

namespace tristill::openai {

// One token with its probabilities, ready to be shown.
struct ShownToken {
  TokenId id = kNoToken;
  std::string text;
  bool has_logprob = false;
  float logprob = 0;
  float other_logprob = 0;
  std::vector<engine::TokenLogprob> top;
  size_t offset = 0;  // code points from the start of prompt + completion
};

struct ChoiceOptions {
  bool echo = false;
  bool logprobs = false;
  bool echoes_tokens = false;  // the prompt's tokens come as events, and count their offsets
  uint32_t max_tokens = 0;     // after which the engine ends it
  TextEnds ends;
};

// What the engine did for a choice.
struct ChoiceCounts {
  uint32_t generated = 0;
  uint32_t cached = 0;  // of the prompt
  uint32_t accepted_drafts = 0, rejected_drafts = 0;
  double queued_ms = 0, prefill_ms = 0, decode_ms = 0;
};

class Choice {
 public:
  // prompt is the text before the completion: what echo repeats, and where text offsets start.
  Choice(uint32_t index, SharedGeneration& generation, const Tokenizer& tokenizer,
         std::string_view prompt, ChoiceOptions options);

  // Takes one event if there is one; text and tokens gather until take_*(). Returns whether there
  // was.
  bool advance();
  // Ends the choice where it stands, as if it had reached its length.
  void cut();
  // Leaves out the line that a deadline broke off, where a whole one is before it. For answers of
  // which nothing was taken yet.
  void keep_whole_lines();

  uint32_t index() const { return index_; }
  void set_index(uint32_t index) { index_ = index; }
  bool finished() const { return finish_ != engine::FinishReason::none; }
  engine::FinishReason finish() const { return finish_; }
  const std::string& error() const { return error_; }
  const std::string& stop() const { return stream_.stop(); }  // the stop text it ended with
  const ChoiceCounts& counts() const { return counts_; }
  double mean_logprob() const;  // of the generated tokens; needs logprobs
  const std::vector<TokenId>& output() const { return output_; }
  const std::vector<float>& embedding() const { return embedding_; }

  // What has come since the last call.
  std::string take_text() { return std::exchange(text_, {}); }
  std::vector<ShownToken> take_tokens() { return std::exchange(tokens_, {}); }
  bool has_news() const;

 private:
  // A token whose text is not yet certain.
  struct HeldToken {
    ShownToken shown;
    size_t start = 0;  // in bytes of the completion
    size_t size = 0;
  };

  void take(const engine::TokenEvent& event);
  ShownToken describe(const engine::TokenEvent& event);
  void show_certain();
  void end(engine::FinishReason reason);

  uint32_t index_;
  SharedGeneration* generation_;
  const Tokenizer* tokenizer_;
  ChoiceOptions options_;
  TextStream stream_;
  size_t n_read_ = 0;  // events
  std::string text_;
  size_t echoed_ = 0;  // bytes of text_ that are the prompt
  std::vector<ShownToken> tokens_;
  std::deque<HeldToken> held_;
  size_t n_bytes_ = 0;  // of the completion
  size_t offset_ = 0;  // of the next token, in code points
  std::string partial_;  // the half character that the last token ended with
  std::vector<TokenId> output_;
  double logprob_sum_ = 0;
  ChoiceCounts counts_;
  std::vector<float> embedding_;
  engine::FinishReason finish_ = engine::FinishReason::none;
  std::string error_;
};

// How a logprobs object is written.
struct LogprobsStyle {
  bool other = false;  // with the residual mass
  bool ids_as_tokens = false;  // tokens are "token_id:N"
};

// OpenAI's legacy object, with exact ids and bytes beside it: {"tokens", "token_logprobs",
// "top_logprobs", "text_offset", "token_ids", "top_token_ids", "top_bytes", "other_logprobs"}.
nlohmann::json logprobs_json(const std::vector<ShownToken>& tokens, const Tokenizer& tokenizer,
                             const LogprobsStyle& style);

// A token's bytes as text: as they are when valid UTF-8, else "bytes:\xNN...".
std::string shown_bytes(std::string_view bytes);
// The bytes themselves: [104, 105].
nlohmann::json bytes_json(std::string_view bytes);
// JSON has no infinity: minus infinity is -9999.
float finite_logprob(float logprob);

}  // namespace tristill::openai
