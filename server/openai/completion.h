// Completion: one request on its way: submitted to the engine, followed until all its choices have
// ended. Knows no dialect: what an answer looks like is the dialect's. One thread, but for wake().
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/access/limits.h"
#include "server/http/message.h"
#include "server/models/registry.h"
#include "server/openai/choice.h"
#include "server/openai/completion_request.h"
#include "server/openai/editor_sessions.h"
#include "server/openai/shared_generation.h"
#include "server/ops/metrics.h"
#include "server/ops/request_history.h"

namespace tristill::openai {

// What the routes of this folder share. Outlives them.
struct Services {
  const models::Registry& registry;
  ops::Metrics& metrics;
  ops::RequestHistory& history;
  access::Limits* limits = nullptr;  // of API keys: told of the tokens that were used
  bool strict = false;  // refuses what the specification does not have, where clients send it
  Flights flights = {};
  EditorSessions sessions = {};
};

// The sums over all choices; a prompt counts once for all its choices.
struct Usage {
  uint64_t prompt = 0, completion = 0, cached = 0, accepted_drafts = 0, rejected_drafts = 0;
};
nlohmann::json to_json(const Usage& usage);

class Completion {
 public:
  enum class Outcome { finished, client_left, superseded };
  // Without news, after which daemon, client and clock are looked after.
  static constexpr std::chrono::milliseconds kSilence{250};

  // Submits all choices, or says why not (and then nothing runs).
  // Errors: those of prompts and of the engine; invalid_argument for ids outside the vocabulary,
  // param their path, and param "suffix" for models without such tokens.
  static Result<std::unique_ptr<Completion>> submit(CompletionRequest request,
                                                    std::shared_ptr<models::ServedModel> served,
                                                    const http::Request& from, Services& services);
  ~Completion();
  Completion(const Completion&) = delete;
  Completion& operator=(const Completion&) = delete;

  const CompletionRequest& request() const { return request_; }
  const models::ServedModel& served() const { return *served_; }
  const Tokenizer& tokenizer() const { return *served_->model->tokenizer; }
  int64_t created() const { return created_; }
  const std::string& id() const { return id_; }  // random hex digits
  uint64_t prompt_tokens() const { return prompt_tokens_; }
  bool prompt_was_cut() const { return prompt_was_cut_; }
  Usage usage() const;

  // All choices, best_of times the prompts; by index.
  std::vector<Choice>& choices() { return choices_; }
  const std::vector<Choice>& choices() const { return choices_; }
  // Keeps the n likeliest of each prompt's best_of. Once, when all have ended.
  void keep_best();

  // Takes what is there; when nothing is, waits for news, at most limit. Returns whether any came.
  bool advance(std::chrono::milliseconds limit);
  bool finished() const;
  bool is_superseded() const;
  // Runs to the end, to the client's leaving or to a newer request's arrival. Superseded choices
  // are cut where they are.
  Outcome run(const std::function<bool()>& client_gone);

  // The request has ended with that answer: counts it for metrics, history and the key's limits.
  // Once.
  void account(Outcome outcome, int status);
  const ops::RequestRecord& record() const { return ongoing_.record; }

 private:
  Completion(CompletionRequest request, std::shared_ptr<models::ServedModel> served,
             const http::Request& from, Services& services);
  Result<void> start(const http::Request& from);
  Result<void> add_biases();
  Result<std::vector<TokenId>> prompt_of(size_t i, std::string& before);
  Result<std::vector<TokenId>> gap_prompt();
  std::vector<TokenId> prediction_tokens() const;
  engine::GenerationRequest generation_of(std::vector<TokenId> ids) const;
  void enter_session(const http::Request& from);
  bool reads_along() const;
  ops::Phase phase() const;  // of the choice that is furthest
  bool take_events();  // whether there were any
  // Choices that each prompt has now.
  uint32_t n_of_prompt() const { return best_kept_ ? request_.n : request_.best_of; }

  CompletionRequest request_;
  std::shared_ptr<models::ServedModel> served_;
  Services& services_;
  const ops::ModelMetrics& metrics_;
  ops::OngoingRequest ongoing_;
  std::string id_;
  int64_t created_;
  std::shared_ptr<Flight> flight_;
  std::shared_ptr<EditorSessions::Entry> session_;
  std::shared_ptr<void> watch_;  // of the client: rings the flight's bell when it leaves
  std::vector<Choice> choices_;
  std::vector<ops::ChoiceTimer> timers_;
  std::vector<uint32_t> prompt_sizes_;  // tokens of each prompt
  uint64_t prompt_tokens_ = 0;
  uint64_t dropped_generated_ = 0;  // by choices that keep_best left out
  bool prompt_was_cut_ = false;
  bool best_kept_ = false;
};

}  // namespace tristill::openai
