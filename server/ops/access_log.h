// One line in the log for every answered HTTP request; of a completion with its sizes and timings.
// Any thread.
#pragma once

#include "server/http/listener.h"
#include "server/ops/request_history.h"

namespace tristill::ops {

// What watches the daemon asks often and says little: its requests are of level debug.
void log_exchange(const http::Exchange& exchange, const RequestHistory& history);

}  // namespace tristill::ops
