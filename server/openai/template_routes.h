// POST /apply-template: the text of the prompt that a conversation becomes, as llama.cpp names it.
// Handler threads.
#pragma once

#include <string>
#include <vector>

#include "server/http/router.h"
#include "server/models/registry.h"
#include "server/openai/messages.h"

namespace tristill::openai {

// The header of every answer that a chat template had a part in: whose it was.
inline constexpr const char* kChatTemplateHeader = "x-chat-template";

// The prompt's parts, by the model's chat template. Errors: the model has none that can be used;
// as ChatTemplate::render.
Result<std::vector<chat::ChatSegment>> render_prompt(const models::ServedModel& served,
                                                     const ChatPrompt& prompt);

void add_template_routes(http::Router& router, const models::Registry& registry);

}  // namespace tristill::openai
