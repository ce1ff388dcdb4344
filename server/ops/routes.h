// /health (and /v1/health), /livez, /readyz, /metrics, /openapi.yaml and the start page.
#pragma once

#include <functional>

#include "server/http/router.h"
#include "server/models/registry.h"
#include "server/ops/metrics.h"

namespace tristill::ops {

struct Probes {
  std::function<bool()> is_draining;  // the daemon is about to refuse new work, or does
  std::function<bool()> is_alive;     // the engines move
};

void add_routes(http::Router& router, const models::Registry& registry, Metrics& metrics,
                Probes probes);

}  // namespace tristill::ops
