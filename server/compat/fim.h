// POST /fim/completions: fill in the middle in the form of Mistral's API, which Continue and
// others speak. Handler threads.
#pragma once

#include "server/http/router.h"
#include "server/openai/completion.h"

namespace tristill::compat {

void add_fim_routes(http::Router& router, openai::Services& services);

}  // namespace tristill::compat
