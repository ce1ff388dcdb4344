// POST /tokenize and /detokenize: a model's tokenizer as a service, in the dialects of llama.cpp
// ("content") and vLLM ("prompt", "messages"). Handler threads.
#pragma once

#include "server/http/router.h"
#include "server/models/registry.h"

namespace tristill::openai {

void add_token_routes(http::Router& router, const models::Registry& registry);

}  // namespace tristill::openai
