#include "server/openai/template_routes.h"

#include "server/http/json.h"
#include "server/openai/refusal.h"

namespace tristill::openai {
namespace {

http::Response apply_template(const http::Request& request, const models::Registry& registry) {
  if (auto too_large = refusal_of_size(request)) return *too_large;
  const auto body = parse_object(request.body);
  if (!body) return refusal(body.error(), "invalid_json");
  Fields fields(*body);
  std::string name;
  fields.text("model", [&](std::string value) { name = std::move(value); });
  if (fields.error()) return refusal(*fields.error());
  const auto prompt = parse_chat_prompt(fields, request.body);
  if (!prompt) return refusal(prompt.error());
  const auto served = registry.find(name);
  if (!served) return refusal(served.error());
  const auto segments = render_prompt(**served, *prompt);
  if (!segments) return refusal(segments.error());
  http::Response response = http::json_response({{"prompt", chat::text_of(*segments)}});
  response.headers[kChatTemplateHeader] = (*(*served)->chat_template)->name();
  return response;
}

}  // namespace

Result<std::vector<chat::ChatSegment>> render_prompt(const models::ServedModel& served,
                                                     const ChatPrompt& prompt) {
  if (!served.chat_template) return served.chat_template.error();
  return (*served.chat_template)->render(prompt.messages, prompt.options);
}

void add_template_routes(http::Router& router, const models::Registry& registry) {
  router.add("POST", "/apply-template", [&registry](const http::Request& request) {
    return apply_template(request, registry);
  });
}

}  // namespace tristill::openai
