// Sequence: one generation inside the engine. Belongs to the engine's thread.
#pragma once

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "model/engine/draft_model.h"
#include "model/engine/drafts.h"
#include "model/engine/generation.h"
#include "model/engine/phase_clock.h"
#include "model/engine/prompt_embedding.h"
#include "model/grammar/grammar_state.h"
#include "model/kv_cache.h"
#include "model/sampler.h"

namespace tristill::engine {

struct Sequence {
  Sequence(std::shared_ptr<GenerationState> generation, uint32_t output_limit,
           uint32_t draft_tokens)
      : state(std::move(generation)),
        clock(std::chrono::steady_clock::now()),
        sampler(state->request.sampling, state->request.prompt),
        drafter(draft_tokens, state->request.prediction),
        tokens(state->request.prompt),
        n_prompt(static_cast<uint32_t>(tokens.size())),
        max_tokens(output_limit) {}

  // Stop tokens, and the tokenizer's eos (null: none) unless it is ignored, end the output from
  // min_tokens on.
  void set_end_tokens(const Tokenizer* tokenizer);

  uint32_t n_missing() const { return static_cast<uint32_t>(tokens.size()) - n_computed; }
  uint32_t n_output() const { return static_cast<uint32_t>(tokens.size()) - n_prompt; }
  bool generates() const { return n_missing() == 1 && tokens.size() >= n_prompt; }
  // Whether the logits at this position are needed: to choose a token, or to score the prompt.
  bool wants_logits(uint32_t position) const {
    if (position + 1 < n_prompt) return scores_prompt();
    return position + 1 >= tokens.size() && max_tokens > 0;
  }
  // Of all its logits only the greatest.
  bool wants_greatest() const {
    const GenerationRequest& request = state->request;
    return sampler.is_greedy_from(n_output()) && !request.logprobs && !request.prompt_logprobs;
  }
  // Logits behind a wrong draft are of another text.
  bool is_refuted(uint32_t position) const {
    return position >= n_computed && position - n_computed >= n_right;
  }
  // The token after `position` was chosen: when it is the draft that was computed there, the next
  // row of logits counts too.
  void check_draft(uint32_t position);
  // Every position of the prompt is to be computed: nothing may be skipped.
  bool reads_whole_prompt() const { return scores_prompt() || embedding; }
  // Logits of prompt tokens are still to come.
  bool scores_prompt() const { return state->request.prompt_logprobs && n_output() == 0; }
  bool is_cancelled() const { return state->cancelled.load(std::memory_order_acquire); }
  // Tokens that it may take in all, as its key pays for them.
  double work() const { return static_cast<double>(n_prompt) + max_tokens; }
  // What an output token and the finish say besides: counts and times so far.
  void describe(PhaseClock::Time now, TokenEvent& event) const;
  RunningView view() const {
    return {place, n_prompt, std::min(n_computed, n_prompt), n_output(), max_tokens};
  }

  std::shared_ptr<GenerationState> state;
  PhaseClock clock;
  Sampler sampler;
  std::unique_ptr<GrammarState> grammar;  // of the output so far; null: any text
  Drafter drafter;
  std::vector<TokenId> tokens;  // prompt and output
  std::vector<TokenId> end_tokens;
  uint32_t n_prompt;
  uint32_t max_tokens;
  uint64_t arrival = 0;  // order of submission
  uint32_t place = 0;  // in the batch
  uint32_t n_computed = 0;  // tokens with keys and values in the cache
  uint32_t n_published = 0;  // blocks that the prefix index knows
  uint32_t n_scored = 0;  // prompt tokens whose scores were sent
  std::optional<PromptEmbedding> embedding;  // for the finish event, when it is wanted
  std::vector<KvBlockId> blocks;
  uint32_t n_dropped = 0;  // the first blocks, out of the sliding window: no longer held
  std::vector<TokenId> step_tokens;  // what it computes in this step: missing tokens, then guess
  std::vector<TokenId> guess;  // drafts of this step
  DraftedText drafted;  // the draft model's
  uint32_t n_right = 0;  // of them, verified so far
  bool was_preempted = false;
  bool done = false;  // its finish event was sent
  // For the finish event.
  uint32_t n_cached = 0;  // prompt tokens that were in the cache
  uint32_t n_accepted = 0, n_rejected = 0;  // draft tokens
};

// The lowest place that none of them has.
uint32_t free_place(std::span<const std::unique_ptr<Sequence>> running);

}  // namespace tristill::engine
