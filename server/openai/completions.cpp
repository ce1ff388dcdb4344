#include "server/openai/completions.h"

#include <nlohmann/json.hpp>

namespace tristill::openai {
namespace {

using engine::FinishReason;
using nlohmann::json;

class TextCompletion final : public Dialect {
 public:
  json answer(Completion& completion) override {
    json body = envelope(completion, "cmpl-", "text_completion");
    body["choices"] = json::array();
    for (Choice& choice : completion.choices()) {
      body["choices"].push_back(choice_json(completion, choice));
    }
    body["usage"] = to_json(completion.usage());
    return body;
  }

  std::vector<json> events(Completion& completion, Choice& choice) override {
    json chunk = envelope(completion, "cmpl-", "text_completion");
    chunk["choices"] = json::array({choice_json(completion, choice)});
    put_chunk_usage(chunk, completion);
    return {chunk};
  }

  json last_event(Completion& completion) override {
    return usage_chunk(completion, "cmpl-", "text_completion");
  }

 private:
  static json choice_json(const Completion& completion, Choice& choice) {
    const CompletionRequest& request = completion.request();
    json out = {{"index", choice.index()},
                {"text", choice.take_text()},
                {"logprobs", nullptr},
                {"finish_reason", finish_reason(choice)},
                {"stop_reason", nullptr}};
    if (!choice.stop().empty()) out["stop_reason"] = choice.stop();
    const auto tokens = choice.take_tokens();
    if (request.logprobs) {
      out["logprobs"] =
          logprobs_json(tokens, completion.tokenizer(),
                        {.other = request.other_logprobs, .ids_as_tokens = request.ids_as_tokens});
    }
    return out;
  }
};

}  // namespace

json envelope(const Completion& completion, const char* id_prefix, const char* object) {
  return {{"id", id_prefix + completion.id()},
          {"object", object},
          {"created", completion.created()},
          {"model", completion.served().name},
          {"system_fingerprint", "fp_" + completion.served().model->fingerprint}};
}

json finish_reason(const Choice& choice) {
  if (!choice.finished()) return nullptr;
  return choice.finish() == FinishReason::stop ? "stop" : "length";
}

json usage_chunk(const Completion& completion, const char* id_prefix, const char* object) {
  if (!completion.request().include_usage) return nullptr;
  json chunk = envelope(completion, id_prefix, object);
  chunk["choices"] = json::array();
  chunk["usage"] = to_json(completion.usage());
  return chunk;
}

void put_chunk_usage(json& chunk, const Completion& completion) {
  const CompletionRequest& request = completion.request();
  if (request.continuous_usage) chunk["usage"] = to_json(completion.usage());
  else if (request.include_usage) chunk["usage"] = nullptr;
}

void add_completion_routes(http::Router& router, Services& services) {
  const auto complete = [&services](const http::Request& request) {
    const auto parse = [&](std::string_view body) {
      auto parsed = parse_completion_request(body, services.strict);
      const auto engine = request.path_params.find("engine");
      if (parsed && parsed->model.empty() && engine != request.path_params.end()) {
        parsed->model = engine->second;
      }
      return parsed;
    };
    return serve(request, services, parse, std::make_unique<TextCompletion>());
  };
  for (const char* path : {"/v1/completions", "/completions", "/beta/completions",
                           "/v1/engines/{engine}/completions"}) {
    router.add("POST", path, complete);
  }
}

}  // namespace tristill::openai
