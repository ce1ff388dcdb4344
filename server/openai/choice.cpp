#include "server/openai/choice.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/utf8.h"

namespace tristill::openai {
namespace {

using engine::FinishReason;
using nlohmann::json;

constexpr float kLowestLogprob = -9999.0F;

}  // namespace

float finite_logprob(float logprob) { return std::isfinite(logprob) ? logprob : kLowestLogprob; }

std::string shown_bytes(std::string_view bytes) {
  if (utf8_is_valid(bytes)) return std::string(bytes);
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text = "bytes:";
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    text += {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
  }
  return text;
}

json bytes_json(std::string_view bytes) {
  json list = json::array();
  for (const char byte : bytes) list.push_back(static_cast<unsigned char>(byte));
  return list;
}

Choice::Choice(uint32_t index, SharedGeneration& generation, const Tokenizer& tokenizer,
               std::string_view prompt, ChoiceOptions options)
    : index_(index),
      generation_(&generation),
      tokenizer_(&tokenizer),
      options_(std::move(options)),
      stream_(options_.ends) {
  if (options_.echo) text_ = utf8_replace_invalid(prompt);
  echoed_ = text_.size();
  if (!options_.echoes_tokens) offset_ = utf8_length(prompt);
}

bool Choice::advance() {
  if (finished()) return false;
  const auto event = generation_->next(n_read_);
  if (!event) return false;
  take(*event);
  return true;
}

// The end follows the last token at once: together, so that the last chunk has text.
bool Choice::has_news() const {
  if (finished()) return true;
  const bool ends_at_once = counts_.generated > 0 && counts_.generated == options_.max_tokens;
  return !ends_at_once && (!text_.empty() || !tokens_.empty());
}

void Choice::cut() {
  if (!finished()) end(FinishReason::length);
}

void Choice::keep_whole_lines() {
  const size_t line = text_.rfind('\n');
  if (line == std::string::npos || line < echoed_ || line + 1 == text_.size()) return;
  const size_t dropped = utf8_length(std::string_view(text_).substr(line));
  text_.resize(line);
  const size_t end = offset_ - std::min(offset_, dropped);
  while (!tokens_.empty() && tokens_.back().offset >= end) tokens_.pop_back();
}

double Choice::mean_logprob() const {
  return counts_.generated == 0 ? 0.0 : logprob_sum_ / counts_.generated;
}

void Choice::take(const engine::TokenEvent& event) {
  if (event.kind == engine::TokenEvent::Kind::prompt_token) {
    tokens_.push_back(describe(event));
    return;
  }
  counts_.cached = event.cached_tokens;
  counts_.accepted_drafts = event.accepted_drafts;
  counts_.rejected_drafts = event.rejected_drafts;
  counts_.queued_ms = event.queued_ms;
  counts_.prefill_ms = event.prefill_ms;
  counts_.decode_ms = event.decode_ms;
  if (event.kind == engine::TokenEvent::Kind::finish) {
    error_ = event.error;
    embedding_ = event.embedding;
    end(event.finish);
    // Who sums the prompt's log-probabilities counts on one entry more for what was chosen next,
    // also where that is the end (lm-evaluation-harness leaves out the last).
    if (options_.echoes_tokens && event.has_logprobs) tokens_.push_back(describe(event));
    return;
  }
  ++counts_.generated;
  output_.push_back(event.token);
  logprob_sum_ += static_cast<double>(finite_logprob(event.logprob));
  const std::string_view bytes = tokenizer_->bytes_of(event.token);
  if (options_.logprobs) held_.push_back({describe(event), n_bytes_, bytes.size()});
  n_bytes_ += bytes.size();
  text_ += stream_.push(bytes);
  if (stream_.stopped()) return end(FinishReason::stop);
  show_certain();
}

ShownToken Choice::describe(const engine::TokenEvent& event) {
  const std::string_view bytes = tokenizer_->bytes_of(event.token);
  ShownToken shown{.id = event.token,
                   .text = shown_bytes(bytes),
                   .has_logprob = event.has_logprobs,
                   .logprob = finite_logprob(event.logprob),
                   .other_logprob = finite_logprob(event.other_logprob),
                   .top = event.top_logprobs,
                   .offset = offset_};
  // A token that starts inside a character has that character's offset.
  partial_ += bytes;
  const size_t whole = utf8_whole_prefix(partial_);
  offset_ += utf8_length(std::string_view(partial_).substr(0, whole));
  partial_.erase(0, whole);
  return shown;
}

// Tokens appear with their text: one that belongs wholly to a stop text never does.
void Choice::show_certain() {
  while (!held_.empty()) {
    HeldToken& token = held_.front();
    const size_t released = stream_.released();
    if (token.size > 0 ? token.start >= released : token.start > released) break;
    tokens_.push_back(std::move(token.shown));
    held_.pop_front();
  }
}

void Choice::end(FinishReason reason) {
  text_ += stream_.finish();
  show_certain();
  held_.clear();
  finish_ = reason;
}

namespace {

json top_json(const ShownToken& token, const Tokenizer& tokenizer, const LogprobsStyle& style) {
  json top = json::object();
  const auto name = [&](TokenId id) {
    return style.ids_as_tokens ? "token_id:" + std::to_string(id)
                               : shown_bytes(tokenizer.bytes_of(id));
  };
  // Tokens of one spelling: the likeliest stands, and the list is best first.
  for (const engine::TokenLogprob& entry : token.top) {
    top.emplace(name(entry.token), finite_logprob(entry.logprob));
  }
  top.emplace(name(token.id), token.logprob);
  return top;
}

}  // namespace

json logprobs_json(const std::vector<ShownToken>& tokens, const Tokenizer& tokenizer,
                   const LogprobsStyle& style) {
  json out = {{"tokens", json::array()},       {"token_logprobs", json::array()},
              {"top_logprobs", json::array()}, {"text_offset", json::array()},
              {"token_ids", json::array()},    {"top_token_ids", json::array()},
              {"top_bytes", json::array()}};
  if (style.other) out["other_logprobs"] = json::array();
  for (const ShownToken& token : tokens) {
    out["tokens"].push_back(style.ids_as_tokens ? "token_id:" + std::to_string(token.id)
                                                : token.text);
    out["text_offset"].push_back(token.offset);
    out["token_ids"].push_back(token.id);
    if (!token.has_logprob) {
      for (const char* name : {"token_logprobs", "top_logprobs", "top_token_ids", "top_bytes"}) {
        out[name].push_back(nullptr);
      }
      if (style.other) out["other_logprobs"].push_back(nullptr);
      continue;
    }
    out["token_logprobs"].push_back(token.logprob);
    out["top_logprobs"].push_back(top_json(token, tokenizer, style));
    json pairs = json::array(), bytes = json::array();
    for (const engine::TokenLogprob& entry : token.top) {
      pairs.push_back({entry.token, finite_logprob(entry.logprob)});
      bytes.push_back(bytes_json(tokenizer.bytes_of(entry.token)));
    }
    out["top_token_ids"].push_back(std::move(pairs));
    out["top_bytes"].push_back(std::move(bytes));
    if (style.other) out["other_logprobs"].push_back(token.other_logprob);
  }
  return out;
}

}  // namespace tristill::openai
