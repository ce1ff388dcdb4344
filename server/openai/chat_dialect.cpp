#include "server/openai/chat_dialect.h"

#include "server/openai/completions.h"

namespace tristill::openai {
namespace {

using nlohmann::json;

constexpr const char* kIdPrefix = "chatcmpl-";
constexpr const char* kChunk = "chat.completion.chunk";

json entry(TokenId id, float logprob, const Tokenizer& tokenizer) {
  const std::string_view bytes = tokenizer.bytes_of(id);
  return {{"token", shown_bytes(bytes)},
          {"logprob", finite_logprob(logprob)},
          {"bytes", bytes_json(bytes)}};
}

json logprobs(const std::vector<ShownToken>& tokens, const Completion& completion) {
  const CompletionRequest& request = completion.request();
  if (!request.logprobs) return nullptr;
  json content = json::array();
  for (const ShownToken& token : tokens) {
    json one = entry(token.id, token.logprob, completion.tokenizer());
    one["top_logprobs"] = json::array();
    for (const engine::TokenLogprob& top : token.top) {
      one["top_logprobs"].push_back(entry(top.token, top.logprob, completion.tokenizer()));
    }
    if (request.other_logprobs) one["other_logprob"] = token.other_logprob;
    content.push_back(std::move(one));
  }
  return {{"content", content}, {"refusal", nullptr}};
}

}  // namespace

json ChatDialect::answer(Completion& completion) {
  json body = envelope(completion, kIdPrefix, "chat.completion");
  body["choices"] = json::array();
  for (Choice& choice : completion.choices()) {
    body["choices"].push_back(
        {{"index", choice.index()},
         {"message",
          {{"role", "assistant"}, {"content", choice.take_text()}, {"refusal", nullptr}}},
         {"logprobs", logprobs(choice.take_tokens(), completion)},
         {"finish_reason", finish_reason(choice)}});
  }
  body["usage"] = to_json(completion.usage());
  return body;
}

json ChatDialect::chunk(const Completion& completion, const Choice& choice, json delta) {
  json body = envelope(completion, kIdPrefix, kChunk);
  body["choices"] = {{{"index", choice.index()},
                      {"delta", std::move(delta)},
                      {"logprobs", nullptr},
                      {"finish_reason", nullptr}}};
  put_chunk_usage(body, completion);
  return body;
}

std::vector<json> ChatDialect::events(Completion& completion, Choice& choice) {
  std::vector<json> events;
  if (introduced_.insert(choice.index()).second) {
    events.push_back(chunk(completion, choice, {{"role", "assistant"}, {"content", ""}}));
  }
  const auto tokens = choice.take_tokens();
  std::string text = choice.take_text();
  if (!text.empty() || !tokens.empty()) {
    events.push_back(chunk(completion, choice, {{"content", std::move(text)}}));
    events.back()["choices"][0]["logprobs"] = logprobs(tokens, completion);
  }
  if (choice.finished()) {
    // Tabby's parser demands the text of every delta, also of the last.
    events.push_back(chunk(completion, choice, {{"content", ""}}));
    events.back()["choices"][0]["finish_reason"] = finish_reason(choice);
  }
  return events;
}

json ChatDialect::last_event(Completion& completion) {
  return usage_chunk(completion, kIdPrefix, kChunk);
}

}  // namespace tristill::openai
