// The daemon as a process, under the names that all Prometheus clients use: memory, processor time,
// files, start. From /proc/self; what cannot be read there is left out.
#pragma once

#include "server/ops/metrics.h"

namespace tristill::ops {

void collect_process(Scrape& scrape);

}  // namespace tristill::ops
