// POST /infill and POST /completion in the form of llama.cpp's server, which llama.vim,
// llama.vscode, Tabby, twinny and Continue speak. Handler threads.
#pragma once

#include "server/http/router.h"
#include "server/openai/completion.h"

namespace tristill::compat {

void add_llama_cpp_routes(http::Router& router, openai::Services& services);

}  // namespace tristill::compat
