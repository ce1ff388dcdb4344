#include "server/openai/chat.h"

#include "server/chat/encode.h"
#include "server/http/error.h"
#include "server/openai/chat_dialect.h"
#include "server/openai/messages.h"
#include "server/openai/refusal.h"
#include "server/openai/response_format.h"
#include "server/openai/template_routes.h"

namespace tristill::openai {
namespace {

using nlohmann::json;

struct ChatRequest {
  CompletionRequest completion;
  ChatPrompt prompt;
};

// logprobs says whether, top_logprobs how many beside the token itself.
void read_logprobs(Fields& fields, CompletionRequest& request) {
  bool wanted = false;
  std::optional<uint32_t> top;
  fields.boolean("logprobs", wanted);
  fields.integer("top_logprobs", 0, kMaxLogprobs, top);
  fields.boolean("other_logprobs", request.other_logprobs);
  if (wanted) request.logprobs = top.value_or(0);
}

// The model calls no tools: only requests that want none of them are taken.
void refuse_tools(Fields& fields) {
  const json* tools = fields.find("tools");
  const json* choice = fields.find("tool_choice");
  const bool none = choice != nullptr && *choice == "none";
  if (tools != nullptr && !tools->empty() && !none) {
    fields.refuse("tools", tools->size(), "no tools, or tool_choice \"none\"");
  }
  if (choice != nullptr && !none && *choice != "auto") {
    fields.refuse("tool_choice", *choice, "none or auto");
  }
}

Result<ChatRequest> parse(std::string_view text, bool strict) {
  const auto body = parse_object(text);
  if (!body) return body.error();
  Fields fields(*body);
  ChatRequest request;
  CompletionRequest& wanted = request.completion;
  read_common(fields, wanted);
  wanted.until_context = true;
  for (const char* name : {"max_tokens", "max_completion_tokens"}) {
    if (fields.find(name) == nullptr) continue;
    fields.integer(name, 0, 1 << 24, wanted.max_tokens);
    wanted.until_context = false;
  }
  fields.integer("n", 1, kMaxChoices, wanted.n);
  read_logprobs(fields, wanted);
  read_stream(fields, wanted, strict);
  read_prediction(fields, wanted);
  wanted.grammar = read_output_form(fields, text);
  refuse_tools(fields);
  if (fields.error()) return *fields.error();
  auto prompt = parse_chat_prompt(fields, text);
  if (!prompt) return prompt.error();
  request.prompt = std::move(*prompt);
  if (auto done = finish_reading(fields, wanted, strict); !done) return done.error();
  wanted.prompts.resize(1);
  if (auto done = check_together(wanted, strict); !done) return done.error();
  return request;
}

// The prompt's tokens and what ends the assistant's turn, by the model's template.
Result<void> render(ChatRequest& request, const models::ServedModel& served) {
  const auto segments = render_prompt(served, request.prompt);
  if (!segments) return segments.error();
  if (auto fits = check_bytes(chat::text_of(*segments).size(), served); !fits) return fits.error();
  CompletionRequest& wanted = request.completion;
  PromptPart part;
  part.is_text = false;
  part.path = "messages";
  part.ids = chat::encode_chat(*served.model->tokenizer, *segments);
  wanted.prompts = {{std::move(part)}};
  const auto& stops = (*served.chat_template)->stops();
  wanted.stop.insert(wanted.stop.end(), stops.begin(), stops.end());
  if (!wanted.ignore_eos) {
    wanted.stop_tokens.insert(wanted.stop_tokens.end(), served.turn_ends.begin(),
                              served.turn_ends.end());
  }
  return {};
}

http::Response complete(const http::Request& from, Services& services) {
  if (auto too_large = refusal_of_size(from)) return *too_large;
  auto request = parse(from.body, services.strict);
  if (!request) {
    const Error& error = request.error();
    return error.param == "tools" ? refusal(error, "unsupported_parameter")
                                  : refusal_of_body(error);
  }
  auto served = services.registry.find(request->completion.model);
  if (!served) return refusal(served.error());
  if (auto rendered = render(*request, **served); !rendered) {
    return refusal_by_model(rendered.error(), **served);
  }
  http::Response response = respond(from, std::move(request->completion), *served,
                                    std::make_unique<ChatDialect>(), services);
  response.headers[kChatTemplateHeader] = (*(*served)->chat_template)->name();
  return response;
}

}  // namespace

void add_chat_routes(http::Router& router, Services& services) {
  for (const char* path : {"/v1/chat/completions", "/chat/completions"}) {
    router.add("POST", path,
               [&services](const http::Request& request) { return complete(request, services); });
  }
}

}  // namespace tristill::openai
