// /health, /livez, /readyz, /metrics, /openapi.yaml and the start page.
#pragma once

#include <functional>

#include "server/http/router.h"
#include "server/models/registry.h"
#include "server/ops/metrics.h"

namespace tristill::ops {

// is_draining: whether the daemon refuses new work.
void add_routes(http::Router& router, const models::Registry& registry, Metrics& metrics,
                std::function<bool()> is_draining);

}  // namespace tristill::ops
