// What an engine does before it serves: a few steps whose results nobody sees. They bring the
// weights into memory, so that the first request does not wait for them, and tell what steps cost
// here.
#pragma once

#include <cstdint>
#include <functional>

#include "model/backend.h"
#include "model/engine/engine.h"
#include "model/engine/wait_estimate.h"

namespace tristill::engine {

using SecondsNow = std::function<double()>;  // of a clock that does not go back
double steady_seconds();

// Computes with token 0 in the cache's first blocks, which must be free. Begins no step when the
// earlier ones have taken a second; other engines of the team compute between them. What was not
// measured keeps its proportion in `start`. Throws what Backend::forward does.
StepCost time_steps(Backend& backend, ThreadTeam& team, uint32_t n_blocks, uint32_t max_context,
                    const EngineOptions& options, const StepCost& start,
                    const SecondsNow& now = steady_seconds);

}  // namespace tristill::engine
