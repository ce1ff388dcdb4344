#include "server/openai/completions.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <ctime>
#include <nlohmann/json.hpp>

#include "server/http/error.h"
#include "server/http/json.h"
#include "server/http/request_id.h"
#include "server/openai/choice.h"
#include "server/openai/completion_request.h"
#include "server/openai/refusal.h"

namespace tristill::openai {
namespace {

using engine::FinishReason;
using nlohmann::json;
using std::chrono::milliseconds;

constexpr milliseconds kGonePoll{50};          // how often a client is looked after in silence
constexpr milliseconds kFirstTokenWait{2000};  // for an early failure to become a status
constexpr std::chrono::seconds kPing{15};      // comments on a silent stream

http::Response refusal_of_body(const Error& error) {
  if (error.param.empty()) return refusal(error, "invalid_json");
  return refusal(error, error.param == "best_of" ? "unsupported_parameter" : "");
}

// What fits no model was refused before: this is what does not fit this one.
http::Response refusal_by_model(const Error& error) {
  if (error.param == "suffix") return refusal(error, "unsupported_parameter");
  return refusal(error,
                 error.message.starts_with("context_length") ? "context_length_exceeded" : "");
}

uint64_t random_seed() {
  const std::string digits = http::random_hex(8);
  uint64_t seed = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), seed, 16);
  return seed;
}

// A request on its way: the choices in order of their index, and what every answer repeats.
class Completion {
 public:
  Completion(CompletionRequest request, std::shared_ptr<models::ServedModel> served,
             const models::Registry& registry, const ops::ModelMetrics& metrics)
      : request_(std::move(request)),
        served_(std::move(served)),
        registry_(registry),
        metrics_(metrics),
        id_("cmpl-" + http::random_hex(12)),
        created_(std::time(nullptr)) {}

  // Submits everything, or says why not (and cancels what was submitted).
  Result<void> submit();
  http::Response answer(const std::function<bool()>& client_gone);
  // Waits a little for the first token; the error of a choice that failed before it, if one did.
  std::optional<std::string> early_failure(const std::function<bool()>& client_gone);
  void stream(http::StreamWriter& writer);
  bool wants_stream() const { return request_.stream; }
  std::string ignored() const;

 private:
  Result<void> check_size(const Prompt& prompt) const;
  Result<std::vector<TokenId>> tokens_of(const Prompt& prompt) const;
  Result<void> check_bias() const;
  std::vector<TokenId> prediction_tokens() const;
  std::string echo_of(const Prompt& prompt, const std::vector<TokenId>& ids) const;
  bool advance(size_t i, milliseconds wait);
  bool advance_all(milliseconds wait);
  bool finished() const;
  json envelope() const;
  json usage() const;
  json choice_json(Choice& choice);
  bool write_news(http::StreamWriter& writer, size_t i);
  void count_finished() const;

  CompletionRequest request_;
  std::shared_ptr<models::ServedModel> served_;
  const models::Registry& registry_;
  const ops::ModelMetrics& metrics_;
  std::string id_;
  int64_t created_;
  std::vector<Choice> choices_;
  std::vector<ops::ChoiceTimer> timers_;
  uint64_t prompt_tokens_ = 0;
};

// Told by its bytes: to split megabytes that cannot fit would take seconds and gigabytes.
Result<void> Completion::check_size(const Prompt& prompt) const {
  const size_t most = served_->longest_token * served_->engine->max_context();
  size_t bytes = request_.suffix ? request_.suffix->size() : 0;
  for (const PromptPart& part : prompt) bytes += part.text.size();
  if (bytes <= most) return {};
  return Error{ErrorCode::invalid_argument,
               "context_length: the prompt has " + std::to_string(bytes) +
                   " bytes; the context of " + std::to_string(served_->engine->max_context()) +
                   " tokens has room for at most " + std::to_string(most),
               "prompt"};
}

Result<std::vector<TokenId>> Completion::tokens_of(const Prompt& prompt) const {
  const Tokenizer& tokenizer = *served_->model->tokenizer;
  if (auto fits = check_size(prompt); !fits) return fits.error();
  if (request_.suffix) return fim_prompt(tokenizer, prompt[0].text, *request_.suffix);
  const uint32_t vocabulary = served_->model->config.vocab_size;
  std::vector<TokenId> ids;
  for (const PromptPart& part : prompt) {
    for (size_t i = 0; i < part.ids.size(); ++i) {
      if (static_cast<uint32_t>(part.ids[i]) < vocabulary) continue;
      return Error{ErrorCode::invalid_argument,
                   part.path_of(i) + " is " + std::to_string(part.ids[i]) +
                       "; accepted are the ids 0 to " + std::to_string(vocabulary - 1),
                   part.path_of(i)};
    }
    const auto more = part.is_text ? tokenizer.encode(part.text) : part.ids;
    ids.insert(ids.end(), more.begin(), more.end());
  }
  // Documents start after the end of another: that is where an empty prompt stands.
  if (ids.empty()) ids.push_back(std::max(tokenizer.special().eos, 0));
  return ids;
}

Result<void> Completion::check_bias() const {
  const uint32_t vocabulary = served_->model->config.vocab_size;
  for (const auto& [id, bias] : request_.sampling.logit_bias) {
    if (static_cast<uint32_t>(id) < vocabulary) continue;
    const std::string where = "logit_bias." + std::to_string(id);
    return Error{ErrorCode::invalid_argument,
                 where + ": accepted are the ids 0 to " + std::to_string(vocabulary - 1), where};
  }
  return {};
}

// The text before the completion: of a gap, what is before the gap.
std::string Completion::echo_of(const Prompt& prompt, const std::vector<TokenId>& ids) const {
  return request_.suffix ? prompt[0].text : served_->model->tokenizer->decode(ids);
}

// What goes on after the prompt: no document of its own, so no token that begins one. One that is
// longer than the context cannot come true as a whole.
std::vector<TokenId> Completion::prediction_tokens() const {
  const size_t most = served_->longest_token * served_->engine->max_context();
  return served_->model->tokenizer->encode(std::string_view(request_.prediction).substr(0, most));
}

Result<void> Completion::submit() {
  if (auto valid = check_bias(); !valid) return valid.error();
  const uint64_t seed = request_.seed ? static_cast<uint64_t>(*request_.seed) : random_seed();
  const std::vector<TokenId> prediction = prediction_tokens();
  const bool echoes_tokens = request_.echo && request_.logprobs && !request_.suffix;
  std::vector<engine::GenerationRequest> all;
  std::vector<std::pair<std::string, ChoiceOptions>> texts;  // of each: what is echoed
  for (const Prompt& prompt : request_.prompts) {
    auto ids = tokens_of(prompt);
    if (!ids) return ids.error();
    prompt_tokens_ += ids->size();
    const uint32_t context = served_->engine->max_context();
    const auto room = context - std::min(context, static_cast<uint32_t>(ids->size()));
    const ChoiceOptions options{request_.echo, request_.logprobs.has_value(), echoes_tokens,
                                std::min(request_.max_tokens, room), request_.stop};
    const std::string before = echo_of(prompt, *ids);
    for (uint32_t i = 0; i < request_.n; ++i) {
      engine::GenerationRequest wanted{.prompt = *ids,
                                       .sampling = request_.sampling,
                                       .max_tokens = request_.max_tokens,
                                       .stop_tokens = request_.stop_tokens,
                                       .ignore_eos = request_.ignore_eos,
                                       .logprobs = request_.logprobs,
                                       .prompt_logprobs = echoes_tokens,
                                       .priority = request_.priority,
                                       .prediction = prediction};
      wanted.sampling.seed = seed;
      wanted.sampling.stream = all.size();
      all.push_back(std::move(wanted));
      texts.emplace_back(before, options);
    }
  }
  auto generations = served_->engine->submit_all(std::move(all));
  if (!generations) return generations.error();
  for (size_t i = 0; i < texts.size(); ++i) {
    choices_.emplace_back(static_cast<uint32_t>(i), std::move((*generations)[i]),
                          *served_->model->tokenizer, texts[i].first, texts[i].second);
  }
  timers_.resize(choices_.size());
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

bool Completion::advance(size_t i, milliseconds wait) {
  if (!choices_[i].advance(wait)) return false;
  timers_[i].tokens(choices_[i].generated(), metrics_);
  return true;
}

// Moves every choice on by what is there; waits for the first unfinished one when none had news.
bool Completion::advance_all(milliseconds wait) {
  if (registry_.is_cut()) {
    for (Choice& choice : choices_) choice.cut();
    return true;
  }
  bool moved = false;
  size_t unfinished = choices_.size();
  for (size_t i = 0; i < choices_.size(); ++i) {
    while (advance(i, milliseconds(0))) moved = true;
    if (!choices_[i].finished()) unfinished = std::min(unfinished, i);
  }
  return moved || (unfinished < choices_.size() && advance(unfinished, wait));
}

bool Completion::finished() const {
  return std::all_of(choices_.begin(), choices_.end(),
                     [](const Choice& choice) { return choice.finished(); });
}

void Completion::count_finished() const {
  uint64_t generated = 0;
  for (const Choice& choice : choices_) {
    generated += choice.generated();
    switch (choice.finish()) {
      case FinishReason::stop: metrics_.finished_stop->Increment(); break;
      case FinishReason::error: metrics_.finished_error->Increment(); break;
      default: metrics_.finished_length->Increment();
    }
  }
  metrics_.e2e_latency->Observe(timers_.front().seconds());
  metrics_.prompt_tokens->Increment(static_cast<double>(prompt_tokens_));
  metrics_.generated_tokens->Increment(static_cast<double>(generated));
}

json Completion::envelope() const {
  return {{"id", id_},
          {"object", "text_completion"},
          {"created", created_},
          {"model", served_->name},
          {"system_fingerprint", "fp_" + served_->model->fingerprint}};
}

// The prompt counts once for all its choices, as does what was known of it.
json Completion::usage() const {
  uint64_t generated = 0, cached = 0, accepted = 0, rejected = 0;
  for (const Choice& choice : choices_) {
    generated += choice.generated();
    accepted += choice.accepted_drafts();
    rejected += choice.rejected_drafts();
    if (choice.index() % request_.n == 0) cached += choice.cached_tokens();
  }
  return {{"prompt_tokens", prompt_tokens_},
          {"completion_tokens", generated},
          {"total_tokens", prompt_tokens_ + generated},
          {"prompt_tokens_details", {{"cached_tokens", cached}}},
          {"completion_tokens_details",
           {{"accepted_prediction_tokens", accepted}, {"rejected_prediction_tokens", rejected}}}};
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

http::Response failed(const std::string& reason) {
  return http::error_response(500, "", "generation failed: " + reason, "", "");
}

http::Response Completion::answer(const std::function<bool()>& client_gone) {
  while (!finished()) {
    if (client_gone()) {
      metrics_.cancelled->Increment();
      return http::error_response(499, "", "the client left", "", "");
    }
    advance_all(kGonePoll);
  }
  count_finished();
  json body = envelope();
  body["choices"] = json::array();
  for (Choice& choice : choices_) {
    if (choice.finish() == FinishReason::error) return failed(choice.error());
    body["choices"].push_back(choice_json(choice));
  }
  body["usage"] = usage();
  return http::json_response(body);
}

std::optional<std::string> Completion::early_failure(const std::function<bool()>& client_gone) {
  const auto until = std::chrono::steady_clock::now() + kFirstTokenWait;
  while (std::chrono::steady_clock::now() < until && !client_gone()) {
    if (advance_all(kGonePoll)) break;
  }
  for (const Choice& choice : choices_) {
    if (choice.finish() == FinishReason::error) return choice.error();
  }
  return std::nullopt;
}

std::string sse(const json& data) {
  return "data: " + data.dump(-1, ' ', false, json::error_handler_t::replace) + "\n\n";
}

bool Completion::write_news(http::StreamWriter& writer, size_t i) {
  Choice& choice = choices_[i];
  if (choice.finish() == FinishReason::error) {
    return writer.write(sse(json::parse(failed(choice.error()).body)));
  }
  json chunk = envelope();
  chunk["choices"] = json::array({choice_json(choice)});
  if (request_.include_usage) chunk["usage"] = nullptr;
  return writer.write(sse(chunk));
}

void Completion::stream(http::StreamWriter& writer) {
  std::vector<bool> said_finish(choices_.size());
  auto written = std::chrono::steady_clock::now();
  for (bool open = true, all_said = false; !all_said;) {
    all_said = finished();  // then this round says the rest
    for (size_t i = 0; open && i < choices_.size(); ++i) {
      if (said_finish[i] || !choices_[i].has_news()) continue;
      said_finish[i] = choices_[i].finished();
      open = write_news(writer, i);
      written = std::chrono::steady_clock::now();
    }
    if (open && std::chrono::steady_clock::now() - written > kPing) {
      open = writer.write(": waiting\n\n");
      written = std::chrono::steady_clock::now();
    }
    if (!open || writer.client_gone()) return metrics_.cancelled->Increment();
    if (!all_said) advance_all(kGonePoll);
  }
  count_finished();
  std::string end;
  if (request_.include_usage) {
    json last = envelope();
    last["choices"] = json::array();
    last["usage"] = usage();
    end = sse(last);
  }
  // A client that leaves now has everything but this; nobody is told.
  if (!writer.write(end + "data: [DONE]\n\n")) metrics_.cancelled->Increment();
}

http::Response complete(const http::Request& request, const models::Registry& registry,
                        ops::Metrics& metrics) {
  if (auto too_large = refusal_of_size(request)) return *too_large;
  auto parsed = parse_completion_request(request.body);
  if (!parsed) return refusal_of_body(parsed.error());
  auto served = registry.find(parsed->model);
  if (!served) return refusal(served.error());
  auto completion = std::make_shared<Completion>(std::move(*parsed), *served, registry,
                                                 metrics.model((*served)->name));
  if (auto done = completion->submit(); !done) return refusal_by_model(done.error());
  http::Response response;
  if (!completion->wants_stream()) {
    response = completion->answer(request.client_gone);
  } else if (const auto failure = completion->early_failure(request.client_gone)) {
    response = failed(*failure);
  } else {
    response.content_type = "text/event-stream; charset=utf-8";
    response.stream = [completion](http::StreamWriter& writer) { completion->stream(writer); };
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
