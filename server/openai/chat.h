// POST /v1/chat/completions: a conversation, by the model's own template. Handler threads.
#pragma once

#include "server/http/router.h"
#include "server/openai/completion.h"

namespace tristill::openai {

void add_chat_routes(http::Router& router, Services& services);

}  // namespace tristill::openai
