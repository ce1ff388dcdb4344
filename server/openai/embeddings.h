// POST /v1/embeddings: the mean hidden state of a text, as a vector of length one. Handler threads.
#pragma once

#include "server/http/router.h"
#include "server/openai/completion.h"

namespace tristill::openai {

void add_embedding_routes(http::Router& router, Services& services);

}  // namespace tristill::openai
