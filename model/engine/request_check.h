// Whether an engine can take a request at all. A pure function: any thread.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "model/config.h"
#include "model/engine/engine.h"

namespace tristill::engine {

// Errors: invalid_argument, param "prompt" (context_length in the message when it is too long) or
// "max_tokens".
Result<void> check_request(const GenerationRequest& request, const ModelConfig& config,
                           uint32_t max_context);

}  // namespace tristill::engine
