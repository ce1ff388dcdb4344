#include "server/openai/choice.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/utf8.h"

namespace tristill::openai {
namespace {

using engine::FinishReason;
using nlohmann::json;

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
               const std::string& prompt_text, const ChoiceOptions& options)
    : index_(index),
      generation_(std::move(generation)),
      tokenizer_(tokenizer),
      options_(options),
      stream_(options.stops) {
  if (options_.echo) text_ = utf8_replace_invalid(prompt_text);
  // Offsets count from the prompt's start; echoed tokens count themselves.
  if (!options_.echo) offset_ = utf8_length(prompt_text);
}

bool Choice::advance(std::chrono::milliseconds wait) {
  if (finished()) return false;
  const auto event = generation_->next(wait);
  if (!event) return false;
  if (event->kind == engine::TokenEvent::Kind::finish) {
    error_ = event->error;
    end(event->finish);
    return true;
  }
  if (event->kind == engine::TokenEvent::Kind::token) {
    ++generated_;
    text_ += stream_.push(tokenizer_.bytes_of(event->token));
  }
  // A token that belongs wholly to a stop text is not shown.
  if (!stream_.stopped()) show(*event);
  if (stream_.stopped()) end(FinishReason::stop);
  return true;
}

void Choice::end(FinishReason reason) {
  text_ += stream_.finish();
  finish_ = reason;
  generation_.reset();
}

void Choice::show(const engine::TokenEvent& event) {
  if (!options_.logprobs) return;
  const std::string_view bytes = tokenizer_.bytes_of(event.token);
  ShownToken shown{event.token,           shown_bytes(bytes), event.has_logprobs,
                   finite(event.logprob), event.top_logprobs, offset_};
  offset_ += utf8_length(bytes);
  tokens_.push_back(std::move(shown));
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
