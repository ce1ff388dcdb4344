// Engine: many sequences on one model. One engine thread owns the batch and the KV cache; any
// thread submits and reads. Continuous batching: every step grants each live sequence some of its
// missing tokens (no prefill phase, no decode phase). Tokens in, tokens out: no text, no JSON.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "model/backend.h"
#include "model/kv_cache.h"
#include "model/logprobs.h"
#include "model/sampler.h"
#include "model/threads.h"
#include "model/tokenizer/tokenizer.h"
#include "model/weights.h"

namespace tristill {
class Grammar;
}

namespace tristill::engine {

using tristill::SamplingParams;
using tristill::TokenLogprob;

struct GenerationRequest {
  std::vector<TokenId> prompt;  // at least one token
  SamplingParams sampling;
  uint32_t max_tokens = 16;  // 0 only scores the prompt
  std::vector<TokenId> stop_tokens;
  bool ignore_eos = false;
  std::optional<uint32_t> logprobs;  // top-N beside each sampled token; 0 is the token alone
  bool prompt_logprobs = false;      // also for prompt tokens (with the same N)
  // Not 0: instead of the N likeliest, what so many random draws gave, with the logs of their
  // shares; at most kMaxLogprobDraws.
  uint32_t logprob_draws = 0;
  bool other_logprobs = false;  // beside both: what is left for all tokens that are not listed
  uint32_t min_tokens = 0;  // before which no stop token is chosen, nor eos unless it is ignored
  std::shared_ptr<const Grammar> grammar;  // of the output; null: any text
  bool embed = false;  // the finish carries the prompt's embedding; max_tokens is 0

  int32_t priority = 0;      // higher ones are admitted first and give up their place last
  std::string fairness_key;  // requests of one priority take turns by key
  // Output that is not there by then is not waited for: what is there ends with
  // FinishReason::deadline; while it waits for a place, with an error that says so.
  std::optional<std::chrono::steady_clock::time_point> deadline;
  // The same, counted from its place in the batch while there is no output, and from the first
  // output token.
  std::optional<std::chrono::milliseconds> max_prefill, max_decode;
  std::vector<TokenId> prediction;  // the output as the client expects it: drafts come from here
  std::function<void()> on_event;  // after each event, on the engine's thread: must not block
  bool tells_end_only = false;     // on_event is called after the finish alone
};

constexpr uint32_t kMaxLogprobDraws = 64;

enum class FinishReason { none, stop, length, deadline, error };

// What a generation says, in order: prompt tokens (only with prompt_logprobs), output tokens,
// then exactly one event with a finish. A stop token is no output: the finish names it, with its
// log-probabilities where those are wanted.
struct TokenEvent {
  enum class Kind { prompt_token, token, finish } kind = Kind::token;
  TokenId token = kNoToken;
  bool has_logprobs = false;               // false for the first prompt token
  float logprob = 0.0F;                    // of token
  std::vector<TokenLogprob> top_logprobs;  // best first, ties by lower id
  float other_logprob = 0.0F;              // log of what all others have; -infinity: nothing
  FinishReason finish = FinishReason::none;
  std::string error;  // with FinishReason::error
  // So far, with output tokens and the finish:
  uint32_t cached_tokens = 0;    // of the prompt, that were in the cache already
  uint32_t accepted_drafts = 0;  // draft tokens that became output
  uint32_t rejected_drafts = 0;
  double queued_ms = 0;   // from submission to a place in the batch
  double prefill_ms = 0;  // from there to the first output token, or the end
  double decode_ms = 0;   // from there on
  std::vector<float> embedding;  // [d_model], with the finish of a request that wants it
};

// One sequence that runs, as it was after the last step.
struct RunningView {
  uint32_t place = 0;  // below max_sequences; no two have the same
  uint32_t n_prompt = 0;
  uint32_t n_prompt_done = 0;
  uint32_t n_output = 0;
  uint32_t max_tokens = 0;
};

struct EngineOptions {
  uint32_t n_threads = 0;      // 0: one a core, from affinity and cgroups
  uint32_t max_sequences = 16;
  uint32_t max_queue = 256;    // waiting beyond the max_sequences that run
  uint32_t max_context = 0;    // 0: the model's
  uint32_t kv_cache_tokens = 0;  // total over all sequences; 0: max_sequences * max_context, at
                                 // most 1 GiB of cache
  KvFormat kv_format = KvFormat::fp16;
  Device device = Device::cpu;
  uint32_t step_tokens = 512;    // most tokens one step computes
  uint32_t prefill_tokens = 64;  // most of prompts in a step in which others generate
  uint32_t draft_tokens = 10;    // most that are guessed and verified in one step; 0: none
  std::shared_ptr<const Model> draft_model = nullptr;  // guesses where the text itself gives
                                                       // nothing; of the same vocabulary
  bool prefix_cache = true;      // beginnings that were computed before are not computed again
  std::filesystem::path prefix_folder = {};  // where they are kept when the engine ends, in a file
      // of the model's; empty: nowhere
  ThreadTeam::Placement placement = ThreadTeam::Placement::free;
  std::shared_ptr<ThreadTeam> team = nullptr;  // shared with other engines; else its own
};

struct EngineStats {
  uint32_t running = 0;
  uint32_t waiting = 0;
  uint32_t kv_tokens_used = 0;  // by sequences; what only the prefix cache holds counts as free
  uint32_t kv_tokens_total = 0;
  uint32_t kv_tokens_cached = 0;  // held by the prefix cache
  uint64_t prompt_tokens = 0;  // computed since start
  uint64_t cached_prompt_tokens = 0;  // not computed, because they were in the cache
  uint64_t generated_tokens = 0;
  uint64_t accepted_draft_tokens = 0;
  uint64_t rejected_draft_tokens = 0;
  uint64_t cancelled = 0;
  uint64_t preempted = 0;
  uint64_t evicted_blocks = 0;  // of the prefix cache
  uint64_t steps = 0;
};

struct GenerationState;

// One request being generated. Destroying it cancels: the engine frees its cache within a step.
// Reading is for one thread at a time.
class Generation {
 public:
  explicit Generation(std::shared_ptr<GenerationState> state);
  Generation(Generation&&) noexcept;
  Generation& operator=(Generation&&) noexcept;
  ~Generation();

  // The next event, or nothing when wait passes without one. After the finish event: nothing, at
  // once.
  std::optional<TokenEvent> next(std::chrono::milliseconds wait);
  bool finished() const;  // the finish event has been read
  bool was_admitted() const;  // it has had a place in the batch

 private:
  std::shared_ptr<GenerationState> state_;
};

class Engine {
 public:
  Engine(std::shared_ptr<const Model> model, const EngineOptions& options);
  ~Engine();  // cancels everything that is left
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Errors: invalid_argument (param "prompt"; code context_length in the message) when the prompt
  // does not fit the context or holds an id outside the vocabulary, (param "max_tokens") when an
  // embedding has output; resource_exhausted when the queue is full; unavailable while draining.
  // max_tokens is cut to the context that is left.
  Result<Generation> submit(GenerationRequest request);
  // All of them or none, in one step. Error invalid_argument (param "n") when there are more than
  // the queue ever holds.
  Result<std::vector<Generation>> submit_all(std::vector<GenerationRequest> requests);

  // From now on submit answers unavailable; what runs goes on.
  void drain();
  bool idle() const;

  EngineStats stats() const;
  std::vector<RunningView> running() const;
  // How long a request submitted now would wait for a place, from what runs and waits and from the
  // speed of the last steps. Zero when there is room.
  std::chrono::milliseconds predicted_wait() const;
  const Model& model() const;
  uint32_t max_context() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tristill::engine
