// POST /v1/completions in OpenAI's legacy form, under all the names that clients have for it.
// Handler threads.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "server/http/router.h"
#include "server/openai/respond.h"

namespace tristill::openai {

void add_completion_routes(http::Router& router, Services& services);

// {"id", "object", "created", "model", "system_fingerprint"}: what every answer and every chunk
// begins with. id_prefix is "cmpl-" or "chatcmpl-".
nlohmann::json envelope(const Completion& completion, const char* id_prefix, const char* object);
// The chunk after the last, where usage was asked for; else null.
nlohmann::json usage_chunk(const Completion& completion, const char* id_prefix, const char* object);
// "usage" of a chunk before it: null where it will come, the sums so far where they were asked for.
void put_chunk_usage(nlohmann::json& chunk, const Completion& completion);
// OpenAI's word for how a choice ended; null while it goes on.
nlohmann::json finish_reason(const Choice& choice);

}  // namespace tristill::openai
