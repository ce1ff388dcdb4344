// Choice: one completion being generated: its generation, its text so far, its log-probabilities.
// One thread. Destroying it cancels.
#pragma once

#include <chrono>
#include <deque>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "model/engine/engine.h"
#include "server/openai/text_stream.h"

namespace tristill::openai {

// One token as the logprobs object shows it.
struct ShownToken {
  TokenId id = kNoToken;
  std::string text;
  bool has_logprob = false;
  float logprob = 0;
  std::vector<engine::TokenLogprob> top;
  size_t offset = 0;  // code points from the start of prompt + completion
};

struct ChoiceOptions {
  bool echo = false;
  bool logprobs = false;
  bool echoes_tokens = false;  // the prompt's tokens come as events, and count their offsets
  uint32_t max_tokens = 0;  // after which the engine ends it
  std::vector<std::string> stops;
};

class Choice {
 public:
  // prompt_text is what echo repeats and where text offsets start.
  // prompt is the text before the completion: offsets count from its start.
  Choice(uint32_t index, engine::Generation generation, const Tokenizer& tokenizer,
         std::string_view prompt, ChoiceOptions options);

  // Takes one event if there is one within wait; text and tokens gather until take_*().
  // Returns whether anything happened.
  bool advance(std::chrono::milliseconds wait);
  // Ends the choice where it stands, as if it had reached its length.
  void cut();

  uint32_t index() const { return index_; }
  bool finished() const { return finish_ != engine::FinishReason::none; }
  engine::FinishReason finish() const { return finish_; }
  const std::string& error() const { return error_; }
  uint32_t generated() const { return generated_; }
  uint32_t cached_tokens() const { return cached_tokens_; }
  uint32_t accepted_drafts() const { return accepted_drafts_; }
  uint32_t rejected_drafts() const { return rejected_drafts_; }

  // What has come since the last call.
  std::string take_text() { return std::exchange(text_, {}); }
  std::vector<ShownToken> take_tokens() { return std::exchange(tokens_, {}); }
  bool has_news() const { return !text_.empty() || !tokens_.empty() || finished(); }

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
  std::optional<engine::Generation> generation_;
  const Tokenizer& tokenizer_;
  ChoiceOptions options_;
  TextStream stream_;
  std::string text_;
  std::vector<ShownToken> tokens_;
  std::deque<HeldToken> held_;
  size_t n_bytes_ = 0;        // of the completion
  size_t offset_ = 0;         // of the next token, in code points
  std::string partial_;       // the half character that the last token ended with
  uint32_t generated_ = 0;
  uint32_t cached_tokens_ = 0;  // of the prompt
  uint32_t accepted_drafts_ = 0, rejected_drafts_ = 0;
  engine::FinishReason finish_ = engine::FinishReason::none;
  std::string error_;
};

// {"tokens", "token_logprobs", "top_logprobs", "text_offset"} and the ids beside them.
nlohmann::json logprobs_json(const std::vector<ShownToken>& tokens, const Tokenizer& tokenizer);

// A token's bytes as text: as they are when valid UTF-8, else "bytes:\xNN...".
std::string shown_bytes(std::string_view bytes);

}  // namespace tristill::openai
