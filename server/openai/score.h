// POST /v1/score: what a model thinks of given texts, token by token, in the form that
// POST /traces takes: any instance can be a teacher. Handler threads.
#pragma once

#include "server/http/router.h"
#include "server/openai/completion.h"

namespace tristill::openai {

void add_score_routes(http::Router& router, Services& services);

}  // namespace tristill::openai
