// What clients of other servers ask a server about itself, in the shapes of those servers:
// GET /props and /slots (llama.cpp), /version and /tokenizer_info (vLLM). Of several models the
// query model=NAME chooses one, as the field model does in a completion. No text of any request.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>

#include "server/http/router.h"
#include "server/models/registry.h"

namespace tristill::ops {

void add_introspection_routes(http::Router& router, const models::Registry& registry);

// llama.cpp's list of slots: one for each place in the batch, free or not.
nlohmann::json slots_json(const models::ServedModel& served,
                          std::span<const engine::RunningView> running);

}  // namespace tristill::ops
