// All routes that make or read text with a model. Handler threads.
#pragma once

#include "server/http/router.h"
#include "server/openai/completion.h"

namespace tristill::openai {

void add_routes(http::Router& router, Services& services);

}  // namespace tristill::openai
