#include "server/openai/score.h"

#include <nlohmann/json.hpp>

#include "server/http/error.h"
#include "server/http/json.h"
#include "server/openai/fields.h"
#include "server/openai/refusal.h"
#include "server/openai/respond.h"
#include "train/trace/record.h"

namespace tristill::openai {
namespace {

using nlohmann::json;

constexpr uint32_t kDefaultTop = 20;

Result<CompletionRequest> parse(std::string_view text) {
  const auto body = parse_object(text);
  if (!body) return body.error();
  Fields fields(*body);
  CompletionRequest request;
  request.max_tokens = 0;
  request.echo = true;
  request.other_logprobs = true;
  request.logprobs = kDefaultTop;
  request.sampling.temperature = 0;
  if (fields.find("prompt") == nullptr) {
    return Error{ErrorCode::invalid_argument, "prompt is missing; send a text or a list of texts",
                 "prompt"};
  }
  read_prompts(fields, "prompt", request.prompts);
  fields.text("model", [&](std::string name) { request.model = std::move(name); });
  fields.integer("top_logprobs", 0, trace::kMaxTopLogprobs, request.logprobs);
  fields.integer("logprob_draws", 1, engine::kMaxLogprobDraws, request.logprob_draws);
  if (request.logprob_draws > 0 && fields.find("top_logprobs") != nullptr) {
    return Error{ErrorCode::invalid_argument,
                 "logprob_draws and top_logprobs are both given, and a list holds either random "
                 "draws or the likeliest tokens; leave one of them out",
                 "logprob_draws"};
  }
  fields.integer("seed", INT64_MIN, INT64_MAX, request.seed);
  fields.integer("truncate_prompt_tokens", 1, 1 << 24, request.truncate_prompt);
  fields.integer("priority", -kMaxPriority, kMaxPriority, request.priority);
  if (auto done = finish_reading(fields, request); !done) return done.error();
  return request;
}

// A trace record, and beside it what a reader of scores wants.
json record_of(const std::vector<ShownToken>& tokens, const models::ServedModel& served) {
  json record = {{"tokenizer", served.model->tokenizer->fingerprint()},
                 {"teacher", served.name},
                 {"sampling", "corpus"},
                 {"prompt_tokens", 0},
                 {"tokens", json::array()},
                 {"top_logprobs", json::array()},
                 {"token_logprobs", json::array()},
                 {"other_logprobs", json::array()}};
  std::string text;
  for (const ShownToken& token : tokens) {
    text += served.model->tokenizer->bytes_of(token.id);
    record["tokens"].push_back(token.id);
    if (!token.has_logprob) {
      for (const char* name : {"top_logprobs", "token_logprobs", "other_logprobs"}) {
        record[name].push_back(nullptr);
      }
      continue;
    }
    json pairs = json::array();
    for (const engine::TokenLogprob& top : token.top) {
      pairs.push_back({top.token, finite_logprob(top.logprob)});
    }
    record["top_logprobs"].push_back(std::move(pairs));
    record["token_logprobs"].push_back(token.logprob);
    record["other_logprobs"].push_back(token.other_logprob);
  }
  record["text"] = std::move(text);
  return record;
}

// Scores one prompt after the other, so that a thousand take the memory of one.
class Scoring {
 public:
  Scoring(CompletionRequest request, std::shared_ptr<models::ServedModel> served,
          const http::Request& from, Services& services)
      : request_(std::move(request)), served_(std::move(served)), from_(from), services_(services) {
    from_.body.clear();
  }

  // The record of the i-th prompt, or why there is none.
  Result<json> score(size_t i) {
    CompletionRequest one = request_;
    one.prompts = {request_.prompts[i]};
    if (one.seed) one.seed = static_cast<int64_t>(static_cast<uint64_t>(*one.seed) + i);
    auto completion = Completion::submit(std::move(one), served_, from_, services_);
    if (!completion) return completion.error();
    const auto outcome = (*completion)->run(from_.client_gone);
    (*completion)->account(outcome, outcome == Completion::Outcome::finished ? 200 : 499);
    if (outcome == Completion::Outcome::client_left) {
      return Error{ErrorCode::cancelled, "the client left", ""};
    }
    Choice& choice = (*completion)->choices().front();
    if (!choice.error().empty()) return Error{ErrorCode::internal, choice.error(), ""};
    tokens_ += (*completion)->prompt_tokens();
    return record_of(choice.take_tokens(), *served_);
  }

  // All ids and sizes, before anything is answered.
  Result<void> check() const {
    for (const Prompt& prompt : request_.prompts) {
      if (auto ids = tokens_of(prompt, *served_); !ids) return ids.error();
    }
    return {};
  }

  size_t n_prompts() const { return request_.prompts.size(); }
  uint64_t tokens() const { return tokens_; }
  const std::string& model() const { return served_->name; }

 private:
  const CompletionRequest request_;
  const std::shared_ptr<models::ServedModel> served_;
  http::Request from_;
  Services& services_;
  uint64_t tokens_ = 0;
};

std::string line_of(const json& record) {
  return record.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

http::Response as_list(Scoring& scoring, json first) {
  json data = json::array({std::move(first)});
  for (size_t i = 1; i < scoring.n_prompts(); ++i) {
    auto record = scoring.score(i);
    if (!record) return http::error_response(record.error());
    data.push_back(std::move(*record));
  }
  return http::json_response(
      {{"object", "list"},
       {"model", scoring.model()},
       {"data", std::move(data)},
       {"usage", {{"prompt_tokens", scoring.tokens()}, {"total_tokens", scoring.tokens()}}}});
}

http::Response as_lines(std::shared_ptr<Scoring> scoring, const json& first) {
  http::Response response;
  response.content_type = "application/x-ndjson";
  response.stream = [scoring, line = line_of(first)](http::StreamWriter& writer) {
    bool open = writer.write(line);
    for (size_t i = 1; open && i < scoring->n_prompts(); ++i) {
      const auto record = scoring->score(i);
      if (!record) {
        open = writer.write(http::error_response(record.error()).body + "\n");
        return;
      }
      open = writer.write(line_of(*record));
    }
  };
  return response;
}

http::Response score(const http::Request& from, Services& services) {
  if (auto too_large = refusal_of_size(from)) return *too_large;
  auto request = parse(from.body);
  if (!request) return refusal_of_body(request.error());
  auto served = services.registry.find(request->model);
  if (!served) return refusal(served.error());
  const auto accept = from.headers.find("accept");
  const bool wants_list =
      accept != from.headers.end() && accept->second.starts_with("application/json");
  auto scoring = std::make_shared<Scoring>(std::move(*request), *served, from, services);
  if (auto valid = scoring->check(); !valid) return refusal_by_model(valid.error(), **served);
  auto first = scoring->score(0);
  if (!first) return refusal_by_model(first.error(), **served);
  return wants_list ? as_list(*scoring, std::move(*first)) : as_lines(scoring, *first);
}

}  // namespace

void add_score_routes(http::Router& router, Services& services) {
  router.add("POST", "/v1/score",
             [&services](const http::Request& request) { return score(request, services); });
}

}  // namespace tristill::openai
