#include "model/engine/request_check.h"

#include <string>

namespace tristill::engine {

Result<void> check_request(const GenerationRequest& request, const ModelConfig& config,
                           uint32_t max_context) {
  if (request.prompt.empty()) {
    return Error{ErrorCode::invalid_argument, "the prompt is empty; at least one token is needed",
                 "prompt"};
  }
  const size_t most = max_context - (request.max_tokens > 0 ? 1 : 0);
  if (request.prompt.size() > most) {
    return Error{ErrorCode::invalid_argument,
                 "context_length: the prompt has " + std::to_string(request.prompt.size()) +
                     " tokens; the context of " + std::to_string(max_context) +
                     " tokens has room for " + std::to_string(most),
                 "prompt"};
  }
  if (request.embed && request.max_tokens > 0) {
    return Error{ErrorCode::invalid_argument,
                 "max_tokens is " + std::to_string(request.max_tokens) +
                     "; an embedding has no output: accepted is 0",
                 "max_tokens"};
  }
  for (const TokenId token : request.prompt) {
    if (token < 0 || static_cast<uint32_t>(token) >= config.vocab_size) {
      return Error{ErrorCode::invalid_argument,
                   "the prompt holds token id " + std::to_string(token) + "; accepted are 0 to " +
                       std::to_string(config.vocab_size - 1),
                   "prompt"};
    }
  }
  return {};
}

}  // namespace tristill::engine
