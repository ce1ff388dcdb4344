#include "server/openai/completions.h"

#include <algorithm>
#include <cstring>
#include <ctime>
#include <nlohmann/json.hpp>

#include "server/http/error.h"
#include "server/http/request_id.h"
#include "server/openai/choice.h"
#include "server/openai/completion_request.h"

namespace tristill::openai {
namespace {

using engine::FinishReason;
using nlohmann::json;
using std::chrono::milliseconds;

constexpr milliseconds kGonePoll{20};  // how often a silent client is asked for

http::Response refusal(const Error& error) {
  if (error.message.find("not valid JSON") != std::string::npos) {
    return http::error_response(400, "", error.message, "", "invalid_json");
  }
  if (error.code == ErrorCode::not_found) {
    return http::error_response(404, "invalid_request_error", error.message, error.param,
                                "model_not_found");
  }
  const bool too_long = error.code == ErrorCode::invalid_argument && error.param == "prompt" &&
                        error.message.find("context") != std::string::npos;
  return too_long
             ? http::error_response(400, "", error.message, error.param, "context_length_exceeded")
             : http::error_response(error);
}

// A request on its way: the choices in order of their index, and what every answer repeats.
class Completion {
 public:
  Completion(CompletionRequest request, std::shared_ptr<models::ServedModel> served,
             ops::Metrics& metrics)
      : request_(std::move(request)),
        served_(std::move(served)),
        metrics_(metrics),
        id_("cmpl-" + http::random_hex(12)),
        created_(std::time(nullptr)) {}

  // Submits everything, or says why not (and cancels what was submitted).
  Result<void> submit();
  http::Response answer(const std::function<bool()>& client_gone);
  void stream(http::StreamWriter& writer);
  bool wants_stream() const { return request_.stream; }
  std::string ignored() const;

 private:
  Result<std::vector<TokenId>> tokens_of(const Prompt& prompt) const;
  bool advance_all(milliseconds wait);
  json envelope() const;
  json usage() const;
  json choice_json(Choice& choice);
  bool write_news(http::StreamWriter& writer, Choice& choice);
  void note_token();

  CompletionRequest request_;
  std::shared_ptr<models::ServedModel> served_;
  ops::Metrics& metrics_;
  std::string id_;
  int64_t created_;
  std::vector<Choice> choices_;
  uint64_t prompt_tokens_ = 0;
  ops::RequestTimer timer_;
};

Result<std::vector<TokenId>> Completion::tokens_of(const Prompt& prompt) const {
  const Tokenizer& tokenizer = *served_->model->tokenizer;
  if (request_.suffix) return fim_prompt(tokenizer, prompt[0].text, *request_.suffix);
  std::vector<TokenId> ids;
  for (const PromptPart& part : prompt) {
    const auto more = part.is_text ? tokenizer.encode(part.text) : part.ids;
    ids.insert(ids.end(), more.begin(), more.end());
  }
  // Documents start after the end of another: that is where an empty prompt stands.
  if (ids.empty()) ids.push_back(std::max(tokenizer.special().eos, 0));
  return ids;
}

Result<void> Completion::submit() {
  uint64_t seed = static_cast<uint64_t>(request_.seed.value_or(0));
  if (!request_.seed) {
    const std::string random = http::random_hex(8);
    std::memcpy(&seed, random.data(), sizeof seed);
  }
  const ChoiceOptions options{request_.echo, request_.logprobs.has_value(), request_.stop};
  const bool scores_prompt = request_.echo && request_.logprobs && !request_.suffix;
  for (const Prompt& prompt : request_.prompts) {
    auto ids = tokens_of(prompt);
    if (!ids) return ids.error();
    prompt_tokens_ += ids->size();
    // Filling a gap, the prompt is the text before it; its tokens also hold the suffix.
    const std::string prompt_text =
        request_.suffix ? prompt[0].text : served_->model->tokenizer->decode(*ids);
    for (uint32_t i = 0; i < request_.n; ++i) {
      engine::GenerationRequest wanted{.prompt = *ids,
                                       .sampling = request_.sampling,
                                       .max_tokens = request_.max_tokens,
                                       .stop_tokens = request_.stop_tokens,
                                       .ignore_eos = request_.ignore_eos,
                                       .logprobs = request_.logprobs,
                                       .prompt_logprobs = scores_prompt};
      wanted.sampling.seed = seed;
      wanted.sampling.stream = choices_.size();
      auto generation = served_->engine->submit(std::move(wanted));
      if (!generation) return generation.error();
      choices_.emplace_back(static_cast<uint32_t>(choices_.size()), std::move(*generation),
                            *served_->model->tokenizer, prompt_text, options);
    }
  }
  return {};
}

std::string Completion::ignored() const {
  std::string names;
  for (const std::string& name : request_.ignored) {
    const bool plain = std::all_of(name.begin(), name.end(),
                                   [](unsigned char c) { return c > ' ' && c < 127 && c != ','; });
    if (plain && names.size() < 512) names += (names.empty() ? "" : ", ") + name;
  }
  return names;
}

// Moves every choice on by what is there; waits for the first unfinished one when none had news.
bool Completion::advance_all(milliseconds wait) {
  bool moved = false;
  for (Choice& choice : choices_) {
    while (choice.advance(milliseconds(0))) moved = true;
  }
  if (moved) return true;
  for (Choice& choice : choices_) {
    if (!choice.finished()) return choice.advance(wait);
  }
  return false;
}

void Completion::note_token() {
  uint64_t generated = 0;
  for (const Choice& choice : choices_) generated += choice.generated();
  timer_.tokens(generated, metrics_);
}

json Completion::envelope() const {
  return {{"id", id_},
          {"object", "text_completion"},
          {"created", created_},
          {"model", served_->name},
          {"system_fingerprint", "fp_" + served_->model->fingerprint}};
}

json Completion::usage() const {
  uint64_t generated = 0;
  for (const Choice& choice : choices_) generated += choice.generated();
  return {{"prompt_tokens", prompt_tokens_},
          {"completion_tokens", generated},
          {"total_tokens", prompt_tokens_ + generated}};
}

json Completion::choice_json(Choice& choice) {
  json out = {{"index", choice.index()},
              {"text", choice.take_text()},
              {"logprobs", nullptr},
              {"finish_reason", nullptr}};
  if (request_.logprobs) {
    out["logprobs"] = logprobs_json(choice.take_tokens(), *served_->model->tokenizer);
  }
  if (choice.finished()) {
    out["finish_reason"] = choice.finish() == FinishReason::stop ? "stop" : "length";
  }
  return out;
}

http::Response Completion::answer(const std::function<bool()>& client_gone) {
  while (!std::all_of(choices_.begin(), choices_.end(),
                      [](const Choice& c) { return c.finished(); })) {
    advance_all(kGonePoll);
    if (client_gone()) {
      metrics_.cancelled();
      return http::error_response(499, "", "the client left", "", "");
    }
    note_token();
  }
  json body = envelope();
  body["choices"] = json::array();
  for (Choice& choice : choices_) {
    if (choice.finish() == FinishReason::error) {
      return http::error_response(500, "", "generation failed: " + choice.error(), "", "");
    }
    body["choices"].push_back(choice_json(choice));
  }
  body["usage"] = usage();
  timer_.finish(prompt_tokens_, metrics_);
  http::Response response;
  response.body = body.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  return response;
}

std::string sse(const json& data) {
  return "data: " + data.dump(-1, ' ', false, json::error_handler_t::replace) + "\n\n";
}

bool Completion::write_news(http::StreamWriter& writer, Choice& choice) {
  if (choice.finish() == FinishReason::error) {
    const auto failed =
        http::error_response(500, "", "generation failed: " + choice.error(), "", "");
    return writer.write(sse(json::parse(failed.body)));
  }
  json chunk = envelope();
  chunk["choices"] = json::array({choice_json(choice)});
  if (request_.include_usage) chunk["usage"] = nullptr;
  return writer.write(sse(chunk));
}

void Completion::stream(http::StreamWriter& writer) {
  std::vector<bool> said_finish(choices_.size());
  size_t left = choices_.size();
  bool open = true;
  while (open && left > 0) {
    const bool moved = advance_all(kGonePoll);
    open = moved || !writer.client_gone();
    note_token();
    for (size_t i = 0; open && i < choices_.size(); ++i) {
      if (said_finish[i] || !choices_[i].has_news()) continue;
      said_finish[i] = choices_[i].finished();
      if (said_finish[i]) --left;
      open = write_news(writer, choices_[i]);
    }
  }
  if (!open) {
    metrics_.cancelled();
    return;
  }
  if (request_.include_usage) {
    json last = envelope();
    last["choices"] = json::array();
    last["usage"] = usage();
    open = writer.write(sse(last));
  }
  if (open && writer.write("data: [DONE]\n\n")) timer_.finish(prompt_tokens_, metrics_);
}

http::Response complete(const http::Request& request, const models::Registry& registry,
                        ops::Metrics& metrics) {
  auto parsed = parse_completion_request(request.body);
  if (!parsed) return refusal(parsed.error());
  auto served = registry.find(parsed->model);
  if (!served) return refusal(served.error());
  auto completion = std::make_shared<Completion>(std::move(*parsed), *served, metrics);
  if (auto submitted = completion->submit(); !submitted) return refusal(submitted.error());
  http::Response response;
  if (completion->wants_stream()) {
    response.content_type = "text/event-stream; charset=utf-8";
    response.stream = [completion](http::StreamWriter& writer) { completion->stream(writer); };
  } else {
    response = completion->answer(request.client_gone);
  }
  if (const std::string names = completion->ignored(); !names.empty()) {
    response.headers["x-ignored-params"] = names;
  }
  return response;
}

}  // namespace

void add_routes(http::Router& router, const models::Registry& registry, ops::Metrics& metrics) {
  const auto handler = [&registry, &metrics](const http::Request& request) {
    return complete(request, registry, metrics);
  };
  router.add("POST", "/v1/completions", handler);
  router.add("POST", "/completions", handler);
}

}  // namespace tristill::openai
