// What the engines and the weights of the served models say in each export: gauges, and totals that
// the engines count themselves, under our names and vLLM's. Any thread.
#pragma once

#include "server/models/registry.h"
#include "server/ops/metrics.h"

namespace tristill::ops {

// Also makes the series of metrics for every served model, so that they are there at zero before
// its first request.
void collect_models(Scrape& scrape, Metrics& metrics, const models::Registry& registry);

}  // namespace tristill::ops
