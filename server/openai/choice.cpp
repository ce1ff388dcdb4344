#include "server/openai/choice.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/utf8.h"

namespace tristill::openai {
namespace {

using engine::FinishReason;
using nlohmann::json;
using std::chrono::milliseconds;

constexpr milliseconds kEndWait{1000};
constexpr float kLowestLogprob = -9999.0F;  // JSON has no infinity

float finite(float logprob) { return std::isfinite(logprob) ? logprob : kLowestLogprob; }

}  // namespace

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

Choice::Choice(uint32_t index, engine::Generation generation, const Tokenizer& tokenizer,
               std::string_view prompt, ChoiceOptions options)
    : index_(index),
      generation_(std::move(generation)),
      tokenizer_(tokenizer),
      options_(std::move(options)),
      stream_(options_.stops) {
  if (options_.echo) text_ = utf8_replace_invalid(prompt);
  if (!options_.echoes_tokens) offset_ = utf8_length(prompt);
}

bool Choice::advance(milliseconds wait) {
  if (finished()) return false;
  const auto event = generation_->next(wait);
  if (!event) return false;
  take(*event);
  // The end follows the last token at once: together, so that the last chunk has text.
  if (!finished() && generated_ > 0 && generated_ == options_.max_tokens) {
    if (const auto last = generation_->next(kEndWait)) take(*last);
  }
  return true;
}

void Choice::cut() {
  if (!finished()) end(FinishReason::length);
}

void Choice::take(const engine::TokenEvent& event) {
  if (event.kind == engine::TokenEvent::Kind::prompt_token) {
    tokens_.push_back(describe(event));
    return;
  }
  cached_tokens_ = event.cached_tokens;
  accepted_drafts_ = event.accepted_drafts;
  rejected_drafts_ = event.rejected_drafts;
  if (event.kind == engine::TokenEvent::Kind::finish) {
    error_ = event.error;
    return end(event.finish);
  }
  ++generated_;
  const std::string_view bytes = tokenizer_.bytes_of(event.token);
  if (options_.logprobs) held_.push_back({describe(event), n_bytes_, bytes.size()});
  n_bytes_ += bytes.size();
  text_ += stream_.push(bytes);
  if (stream_.stopped()) return end(FinishReason::stop);
  show_certain();
}

ShownToken Choice::describe(const engine::TokenEvent& event) {
  const std::string_view bytes = tokenizer_.bytes_of(event.token);
  ShownToken shown{event.token,           shown_bytes(bytes), event.has_logprobs,
                   finite(event.logprob), event.top_logprobs, offset_};
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
  generation_.reset();
}

json logprobs_json(const std::vector<ShownToken>& tokens, const Tokenizer& tokenizer) {
  json texts = json::array(), values = json::array(), tops = json::array(), offsets = json::array();
  json ids = json::array(), top_ids = json::array();
  for (const ShownToken& token : tokens) {
    texts.push_back(token.text);
    offsets.push_back(token.offset);
    ids.push_back(token.id);
    if (!token.has_logprob) {
      values.push_back(nullptr);
      tops.push_back(nullptr);
      top_ids.push_back(nullptr);
      continue;
    }
    values.push_back(token.logprob);
    json top = json::object();
    json pairs = json::array();
    // Tokens of one spelling: the likeliest stands, and the list is best first.
    for (const engine::TokenLogprob& entry : token.top) {
      top.emplace(shown_bytes(tokenizer.bytes_of(entry.token)), finite(entry.logprob));
      pairs.push_back({entry.token, finite(entry.logprob)});
    }
    top.emplace(token.text, token.logprob);
    tops.push_back(std::move(top));
    top_ids.push_back(std::move(pairs));
  }
  return {{"tokens", texts},        {"token_logprobs", values}, {"top_logprobs", tops},
          {"text_offset", offsets}, {"token_ids", ids},         {"top_token_ids", top_ids}};
}

}  // namespace tristill::openai
