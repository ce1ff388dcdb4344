#include "server/compat/fim.h"

#include "server/openai/chat_dialect.h"
#include "server/openai/fields.h"

namespace tristill::compat {
namespace {

using openai::CompletionRequest;
using openai::Fields;

Result<CompletionRequest> parse(std::string_view text, bool strict) {
  const auto body = openai::parse_object(text);
  if (!body) return body.error();
  Fields fields(*body);
  CompletionRequest request;
  openai::Gap gap;
  if (fields.find("prompt") == nullptr) {
    return Error{ErrorCode::invalid_argument, "prompt is missing; send the text before the gap",
                 "prompt"};
  }
  fields.text("prompt", [&](std::string prefix) { gap.prefix = std::move(prefix); });
  fields.text("suffix", [&](std::string suffix) { gap.suffix = std::move(suffix); });
  openai::read_common(fields, request);
  fields.integer("random_seed", INT64_MIN, INT64_MAX, request.seed);  // Mistral's name
  request.max_tokens = 256;
  fields.integer("max_tokens", 0, 1 << 24, request.max_tokens);
  openai::read_stream(fields, request, strict);
  openai::read_prediction(fields, request);
  if (auto done = openai::finish_reading(fields, request, strict); !done) return done.error();
  if (gap.suffix.empty()) {
    request.prompts = {{openai::PromptPart{.text = std::move(gap.prefix)}}};
  } else {
    request.gap = std::move(gap);
  }
  if (auto done = openai::check_together(request, strict); !done) return done.error();
  return request;
}

}  // namespace

void add_fim_routes(http::Router& router, openai::Services& services) {
  for (const char* path : {"/fim/completions", "/v1/fim/completions"}) {
    router.add("POST", path, [&services](const http::Request& request) {
      const auto read = [&](std::string_view body) { return parse(body, services.strict); };
      return openai::serve(request, services, read, std::make_unique<openai::ChatDialect>());
    });
  }
}

}  // namespace tristill::compat
