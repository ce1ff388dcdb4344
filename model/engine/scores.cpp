#include "model/engine/scores.h"

#include <array>
#include <utility>

#include "base/check.h"
#include "base/random.h"
#include "model/logprobs.h"

namespace tristill::engine {

namespace {

// Beside the streams of the choices, which are small numbers.
constexpr uint64_t kDrawsStream = uint64_t{1} << 63;

// Of one position always the same, whatever is computed together with it.
std::vector<TokenLogprob> draws_at(const GenerationRequest& request, uint32_t position,
                                   const LogSoftmax& log_softmax, std::vector<float>& scratch) {
  std::array<double, kMaxLogprobDraws> uniforms;
  CHECK(request.logprob_draws <= uniforms.size());
  const uint64_t stream = kDrawsStream | request.sampling.stream;
  for (uint32_t i = 0; i < request.logprob_draws; ++i) {
    const uint64_t counter = uint64_t{position} * kMaxLogprobDraws + i;
    uniforms[i] = philox_uniform(request.sampling.seed, stream, counter);
  }
  return log_softmax.draw({uniforms.data(), request.logprob_draws}, scratch);
}

}  // namespace

void score(const GenerationRequest& request, uint32_t position, std::span<const float> logits,
           std::vector<float>& scratch, TokenEvent& event) {
  const LogSoftmax log_softmax(logits, scratch);
  event.has_logprobs = true;
  event.logprob = log_softmax.at(event.token);
  event.top_logprobs = request.logprob_draws > 0 ? draws_at(request, position, log_softmax, scratch)
                                                 : log_softmax.top(request.logprobs.value_or(0));
  if (!request.other_logprobs) return;
  event.other_logprob = log_softmax.other(event.token, event.top_logprobs, scratch);
}

void emit_prompt_token(Sequence& sequence, uint32_t position, std::span<const float> logits,
                       std::vector<float>& scratch) {
  if (position < sequence.n_scored) return;
  TokenEvent event;
  event.kind = TokenEvent::Kind::prompt_token;
  event.token = sequence.tokens[position];
  score(sequence.state->request, position, logits, scratch, event);
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
