#include "model/engine/sequence.h"

namespace tristill::engine {

void Sequence::set_end_tokens(const Tokenizer* tokenizer) {
  const GenerationRequest& request = state->request;
  end_tokens = request.stop_tokens;
  const TokenId eos = tokenizer != nullptr ? tokenizer->special().eos : kNoToken;
  if (eos != kNoToken && !request.ignore_eos) end_tokens.push_back(eos);
  sampler.ban_before(request.min_tokens, end_tokens);
}

void Sequence::check_draft(uint32_t position) {
  const size_t draft = position + 1 - n_computed;
  if (n_right != draft || draft >= guess.size()) return;
  if (guess[draft] != tokens.back()) return;
  ++n_right;
}

void Sequence::describe(PhaseClock::Time now, TokenEvent& event) const {
  clock.measure(now, event);
  event.cached_tokens = n_cached;
  event.accepted_drafts = n_accepted + n_right;
  event.rejected_drafts = n_rejected;
  if (event.kind != TokenEvent::Kind::finish) return;
  event.rejected_drafts += static_cast<uint32_t>(guess.size()) - n_right;
}

uint32_t free_place(std::span<const std::unique_ptr<Sequence>> running) {
  for (uint32_t place = 0;; ++place) {
    const bool is_taken =
        std::ranges::any_of(running, [&](const auto& other) { return other->place == place; });
    if (!is_taken) return place;
  }
}

}  // namespace tristill::engine
