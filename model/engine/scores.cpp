#include "model/engine/scores.h"

#include <utility>

#include "model/logprobs.h"

namespace tristill::engine {

void score(const GenerationRequest& request, std::span<const float> logits,
           std::vector<float>& scratch, TokenEvent& event) {
  const LogSoftmax log_softmax(logits, scratch);
  event.has_logprobs = true;
  event.logprob = log_softmax.at(event.token);
  event.top_logprobs = log_softmax.top(request.logprobs.value_or(0));
  if (!request.other_logprobs) return;
  event.other_logprob = log_softmax.other(event.token, event.top_logprobs, scratch);
}

void emit_prompt_token(Sequence& sequence, uint32_t position, std::span<const float> logits,
                       std::vector<float>& scratch) {
  if (position < sequence.n_scored) return;
  TokenEvent event;
  event.kind = TokenEvent::Kind::prompt_token;
  event.token = sequence.tokens[position];
  score(sequence.state->request, logits, scratch, event);
  sequence.state->push(std::move(event));
  sequence.n_scored = position + 1;
}

void emit_first_prompt_token(Sequence& sequence) {
  if (!sequence.state->request.prompt_logprobs || sequence.n_scored > 0) return;
  TokenEvent event;
  event.kind = TokenEvent::Kind::prompt_token;
  event.token = sequence.tokens.front();
  sequence.state->push(std::move(event));
  sequence.n_scored = 1;
}

}  // namespace tristill::engine
