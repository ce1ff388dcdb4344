// From a checked request to its answer, whole or as a stream: what all routes that make text have
// in common. A dialect words it. Handler threads.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "server/http/message.h"
#include "server/openai/completion.h"

namespace tristill::openai {

// How one family of routes writes its answers. Made for one request, and may remember what it has
// said.
class Dialect {
 public:
  virtual ~Dialect() = default;
  // All choices have ended.
  virtual nlohmann::json answer(Completion& completion) = 0;
  // What is new of one choice, as events of the stream.
  virtual std::vector<nlohmann::json> events(Completion& completion, Choice& choice) = 0;
  // What follows the last event of all choices; null for nothing.
  virtual nlohmann::json last_event(Completion&) { return nullptr; }
  // Whether the stream ends with "data: [DONE]".
  virtual bool says_done() const { return true; }
};

// Errors become answers in OpenAI's form, those before the first token with their status.
http::Response respond(const http::Request& from, CompletionRequest request,
                       std::shared_ptr<models::ServedModel> served,
                       std::unique_ptr<Dialect> dialect, Services& services);

// What fits no model was refused before: this is what does not fit this one, or not now.
http::Response refusal_by_model(const Error& error, const models::ServedModel& served);

// A body that could not be read: 400 naming the field, or invalid_json.
http::Response refusal_of_body(const Error& error);

// What most routes do: refuse what is too large, parse, find the model, respond.
http::Response serve(const http::Request& from, Services& services,
                     const std::function<Result<CompletionRequest>(std::string_view)>& parse,
                     std::unique_ptr<Dialect> dialect);

}  // namespace tristill::openai
