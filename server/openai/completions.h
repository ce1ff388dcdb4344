// POST /v1/completions: parse, submit, answer or stream. Handler threads.
#pragma once

#include "server/http/router.h"
#include "server/models/registry.h"
#include "server/ops/metrics.h"

namespace tristill::openai {

void add_routes(http::Router& router, const models::Registry& registry, ops::Metrics& metrics);

}  // namespace tristill::openai
