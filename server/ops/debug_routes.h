// GET /debug/requests and /debug/requests/{id}: sizes, timings and ends of completion requests.
// No text of any of them.
#pragma once

#include "server/http/router.h"
#include "server/ops/request_history.h"

namespace tristill::ops {

void add_debug_routes(http::Router& router, const RequestHistory& history);

}  // namespace tristill::ops
