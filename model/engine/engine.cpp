#include "model/engine/engine.h"

#include <algorithm>
#include <mutex>
#include <thread>

#include "base/check.h"
#include "base/log.h"
#include "model/backend.h"
#include "model/engine/draft_model.h"
#include "model/engine/generation.h"
#include "model/engine/scheduler.h"
#include "model/engine/sequence.h"
#include "model/engine/sequence_cache.h"
#include "model/engine/waiting_queue.h"

namespace tristill::engine {
namespace {

constexpr uint64_t kDefaultCacheBytes = uint64_t{1} << 30;
constexpr size_t kLogitRows = 32;  // rows of logits held at once
// Rows of a step that cost little more than one: what drafts of all sequences may fill.
constexpr uint32_t kDraftRows = 12;

uint32_t context_limit(const ModelConfig& config, const EngineOptions& options) {
  return options.max_context == 0 ? config.max_context
                                  : std::min(options.max_context, config.max_context);
}

uint32_t count_blocks(const ModelConfig& config, const EngineOptions& options) {
  constexpr uint64_t kMost = UINT32_MAX / kKvBlockTokens;
  uint64_t blocks = kv_blocks_for(options.kv_cache_tokens);
  if (blocks == 0) {
    blocks = uint64_t{kv_blocks_for(context_limit(config, options))} * options.max_sequences;
    blocks = std::min(blocks, kDefaultCacheBytes / kv_block_bytes(config, options.kv_format));
  }
  return static_cast<uint32_t>(std::clamp<uint64_t>(blocks, 1, kMost));
}

// First the one that gives up its place last.
bool outranks(const std::unique_ptr<Sequence>& a, const std::unique_ptr<Sequence>& b) {
  const int32_t x = a->state->request.priority;
  const int32_t y = b->state->request.priority;
  return x > y || (x == y && a->arrival < b->arrival);
}

void add_counts(const Sequence& sequence, TokenEvent& event) {
  event.cached_tokens = sequence.n_cached;
  event.accepted_drafts = sequence.n_accepted + sequence.n_right;
  event.rejected_drafts = sequence.n_rejected;
  if (event.kind != TokenEvent::Kind::finish) return;
  event.rejected_drafts += static_cast<uint32_t>(sequence.guess.size()) - sequence.n_right;
}

bool is_late(const Sequence& sequence) {
  const auto& deadline = sequence.state->request.deadline;
  return deadline && std::chrono::steady_clock::now() >= *deadline;
}

}  // namespace

struct Engine::Impl {
  Impl(std::shared_ptr<const Model> served, const EngineOptions& wanted);
  ~Impl();

  Result<void> check(const GenerationRequest& request) const;
  Result<std::vector<Generation>> submit_all(std::vector<GenerationRequest> requests);

  void run();
  bool take_inbox();
  void drop_cancelled();
  void end_late();
  void step();
  StepPlan plan(std::span<Sequence* const> candidates);
  void guess(uint32_t n_generating);
  RunningNeed need_of(const Sequence& sequence);
  std::vector<Sequence*> admissible();
  void admit(Sequence& sequence);
  void preempt_last();
  void release(Sequence& sequence);
  void compute(const StepPlan& plan);
  void fail_step(const char* reason);
  void place(Sequence& sequence, const Grant& grant);
  struct WantedRow;
  void read_logits();
  void read_greedy(std::span<const WantedRow> wanted);
  void read_rows(std::span<const WantedRow> wanted);
  std::span<const uint32_t> batch_rows(std::span<const WantedRow> wanted);
  template <class Read>
  void serve(const WantedRow& wanted, Read read);
  void read_row(Sequence& sequence, uint32_t position, std::span<const float> logits);
  void score_prompt(Sequence& sequence, uint32_t position, std::span<const float> logits);
  void read_choice(Sequence& sequence, uint32_t position, TokenId token);
  bool is_refuted(const Sequence& sequence, uint32_t position) const;
  void take_token(Sequence& sequence, uint32_t position, TokenId token,
                  std::span<const float> logits);
  void settle_drafts(Sequence& sequence);
  void check_draft(Sequence& sequence, uint32_t position);
  void score(Sequence& sequence, TokenEvent& event, std::span<const float> logits);
  void emit_first_prompt_token(Sequence& sequence);
  void finish(Sequence& sequence, FinishReason reason, std::string error = {});
  void retire_finished();
  void publish_stats();
  bool ends(const Sequence& sequence, TokenId token) const;

  // A row of logits that someone waits for.
  struct WantedRow {
    Sequence* sequence;
    uint32_t row;  // in the batch
    uint32_t position;
  };

  const std::shared_ptr<const Model> model;
  const EngineOptions options;

  mutable std::mutex mutex;  // guards the next five
  std::condition_variable wake;
  std::vector<std::unique_ptr<Sequence>> inbox;
  EngineStats stats;
  bool stopping = false;
  bool draining = false;

  // The engine thread's own.
  KvCache cache;
  const uint32_t max_context;
  const std::shared_ptr<ThreadTeam> team;
  const std::unique_ptr<Backend> backend;
  SequenceCache blocks;
  std::optional<DraftModel> draft_model;
  WaitingQueue waiting;
  std::vector<std::unique_ptr<Sequence>> running;  // by rank
  uint64_t n_arrived = 0;
  EngineStats counted;  // copied to stats once a step
  std::vector<Segment> segments;
  std::vector<WantedRow> wanted_rows;
  std::vector<uint32_t> rows;
  SamplerScratch sampler_scratch;
  std::vector<float> logprob_scratch;

  std::thread thread;  // last: starts when all else is there
};

Engine::Impl::Impl(std::shared_ptr<const Model> served, const EngineOptions& wanted)
    : model(std::move(served)),
      options(wanted),
      cache(model->config, count_blocks(model->config, options), options.kv_format),
      max_context(std::min<uint32_t>(context_limit(model->config, options),
                                     cache.n_blocks() * kKvBlockTokens)),
      team(options.team != nullptr
               ? options.team
               : std::make_shared<ThreadTeam>(
                     options.n_threads == 0 ? usable_cores() : options.n_threads,
                     options.placement)),
      backend(make_backend(options.device, model, cache, *team, max_context)),
      blocks(cache, *backend, options.prefix_cache, model->config.sliding_window) {
  CHECK(options.max_sequences > 0 && options.step_tokens > 0 && options.prefill_tokens > 0);
  if (options.draft_model) {
    CHECK(options.draft_model->config.vocab_size == model->config.vocab_size);
    draft_model.emplace(options.draft_model, options.device, options.kv_format, cache.n_blocks(),
                        *team);
  }
  counted.kv_tokens_total = cache.n_blocks() * kKvBlockTokens;
  stats = counted;
  thread = std::thread([this] { run(); });
}

Engine::Impl::~Impl() {
  {
    const std::lock_guard lock(mutex);
    stopping = true;
  }
  wake.notify_one();
  thread.join();
}

Result<void> Engine::Impl::check(const GenerationRequest& request) const {
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
  for (const TokenId token : request.prompt) {
    if (token < 0 || static_cast<uint32_t>(token) >= model->config.vocab_size) {
      return Error{ErrorCode::invalid_argument,
                   "the prompt holds token id " + std::to_string(token) + "; accepted are 0 to " +
                       std::to_string(model->config.vocab_size - 1),
                   "prompt"};
    }
  }
  return {};
}

Result<std::vector<Generation>> Engine::Impl::submit_all(std::vector<GenerationRequest> requests) {
  const uint64_t capacity = uint64_t{options.max_sequences} + options.max_queue;
  if (requests.size() > capacity) {
    return Error{ErrorCode::invalid_argument,
                 "the request asks for " + std::to_string(requests.size()) +
                     " generations at once; accepted are up to " + std::to_string(capacity),
                 "n"};
  }
  std::vector<Generation> generations;
  std::vector<std::unique_ptr<Sequence>> sequences;
  for (GenerationRequest& request : requests) {
    if (auto valid = check(request); !valid) return valid.error();
    const auto room = max_context - static_cast<uint32_t>(request.prompt.size());
    const uint32_t max_tokens = std::min(request.max_tokens, room);
    auto state = std::make_shared<GenerationState>(std::move(request));
    sequences.push_back(std::make_unique<Sequence>(state, max_tokens, options.draft_tokens));
    generations.emplace_back(std::move(state));
  }
  {
    const std::lock_guard lock(mutex);
    if (draining) return Error{ErrorCode::unavailable, "the server is shutting down", ""};
    const uint64_t live = inbox.size() + stats.waiting + stats.running;
    if (live + sequences.size() > capacity) {
      return Error{ErrorCode::resource_exhausted,
                   "the queue is full: " + std::to_string(live) + " generations of at most " +
                       std::to_string(capacity) + "; try again later",
                   ""};
    }
    std::ranges::move(sequences, std::back_inserter(inbox));
  }
  wake.notify_one();
  return generations;
}

void Engine::Impl::run() {
  if (!options.prefix_folder.empty()) blocks.remember(options.prefix_folder, *model);
  publish_stats();
  while (take_inbox()) {
    try {
      drop_cancelled();
      end_late();
      step();
    } catch (const std::exception& failure) {
      fail_step(failure.what());
    }
    retire_finished();
    publish_stats();
  }
  for (auto& sequence : running) finish(*sequence, FinishReason::error, "the engine stopped");
  waiting.erase_if([this](Sequence& sequence) {
    finish(sequence, FinishReason::error, "the engine stopped");
    return true;
  });
  if (!options.prefix_folder.empty()) blocks.keep(options.prefix_folder, *model);
}

// Waits for work; false when the engine must end.
bool Engine::Impl::take_inbox() {
  std::unique_lock lock(mutex);
  wake.wait(lock,
            [this] { return stopping || !inbox.empty() || !running.empty() || !waiting.empty(); });
  for (auto& sequence : inbox) {
    sequence->arrival = n_arrived++;
    waiting.push(std::move(sequence));
  }
  inbox.clear();
  stats.waiting = static_cast<uint32_t>(waiting.size());
  return !stopping;
}

void Engine::Impl::drop_cancelled() {
  const auto drop = [this](Sequence& sequence) {
    if (!sequence.state->cancelled.load(std::memory_order_acquire)) return false;
    release(sequence);
    ++counted.cancelled;
    return true;
  };
  std::erase_if(running, [&](auto& sequence) { return drop(*sequence); });
  waiting.erase_if(drop);
}

void Engine::Impl::end_late() {
  for (auto& sequence : running) {
    if (is_late(*sequence)) finish(*sequence, FinishReason::deadline);
  }
  retire_finished();
  waiting.erase_if([this](Sequence& sequence) {
    if (!is_late(sequence)) return false;
    if (sequence.n_output() > 0) {
      finish(sequence, FinishReason::deadline);
    } else {
      finish(sequence, FinishReason::error, "the deadline passed before a place was free");
    }
    return true;
  });
}

void Engine::Impl::step() {
  const std::vector<Sequence*> candidates = admissible();
  StepPlan step_plan = plan(candidates);
  for (uint32_t i = 0; i < step_plan.n_preempted; ++i) preempt_last();
  step_plan.grants.erase(step_plan.grants.begin() + static_cast<std::ptrdiff_t>(running.size()),
                         step_plan.grants.begin() +
                             static_cast<std::ptrdiff_t>(running.size() + step_plan.n_preempted));
  for (uint32_t i = 0; i < step_plan.n_admitted; ++i) {
    running.push_back(waiting.take(*candidates[i]));
    admit(*running.back());
    // More of its beginning may be known by now than when the step was planned.
    uint32_t& granted = step_plan.grants[running.size() - 1].tokens;
    granted = std::min(granted, running.back()->n_missing());
  }
  if (running.empty()) return;
  ++counted.steps;
  compute(step_plan);
  std::stable_sort(running.begin(), running.end(), outranks);
}

StepPlan Engine::Impl::plan(std::span<Sequence* const> candidates) {
  std::vector<RunningNeed> running_needs;
  std::vector<WaitingNeed> waiting_needs;
  const auto n_generating = static_cast<uint32_t>(
      std::count_if(running.begin(), running.end(), [](const auto& s) { return s->generates(); }));
  guess(n_generating);
  for (auto& sequence : running) running_needs.push_back(need_of(*sequence));
  for (const Sequence* sequence : candidates)
    waiting_needs.push_back(blocks.need_of(*sequence, max_context));
  return plan_step(running_needs, waiting_needs,
                   {.step_tokens = options.step_tokens,
                    .prefill_tokens = options.prefill_tokens,
                    .max_sequences = options.max_sequences,
                    .free_blocks = blocks.count_free(running),
                    .block_tokens = kKvBlockTokens,
                    .step = counted.steps});
}

// Fills the guesses of sequences that generate: from their own text, else by the draft model.
void Engine::Impl::guess(uint32_t n_generating) {
  for (auto& sequence : running) sequence->guess.clear();
  if (n_generating == 0 || n_generating > kDraftRows) return;
  const uint32_t share = kDraftRows / n_generating - 1;
  std::vector<DraftModel::Wanted> open;
  for (auto& sequence : running) {
    if (!sequence->generates() || sequence->max_tokens == 0) continue;
    // The last output token is never computed, and no position lies beyond the context.
    const uint32_t room = std::min(sequence->max_tokens - sequence->n_output() - 1,
                                   max_context - static_cast<uint32_t>(sequence->tokens.size()));
    const uint32_t most = std::min(room, share);
    const auto known = sequence->drafter.guess(sequence->tokens, sequence->n_prompt, most);
    sequence->guess.assign(known.begin(), known.end());
    const uint32_t length = std::min(most, sequence->drafter.length());
    if (known.empty() && length > 0) open.push_back({sequence.get(), length});
  }
  if (draft_model && !open.empty()) draft_model->guess(open);
}

RunningNeed Engine::Impl::need_of(const Sequence& sequence) {
  return {.missing_tokens = sequence.n_missing(),
          .draft_tokens = static_cast<uint32_t>(sequence.guess.size()),
          .computed_tokens = sequence.n_computed,
          .held_blocks = static_cast<uint32_t>(sequence.blocks.size()),
          .own_blocks = blocks.count_own(sequence)};
}

// Those whose turn it is, without those that a running one works for.
std::vector<Sequence*> Engine::Impl::admissible() {
  if (running.size() >= options.max_sequences) return {};
  auto candidates = waiting.first(options.max_sequences - running.size());
  std::erase_if(candidates, [this](const Sequence* sequence) {
    return blocks.awaits_twin(*sequence, running);
  });
  // Of several with the same beginning the first goes ahead alone.
  std::vector<Sequence*> ahead;
  for (Sequence* candidate : candidates) {
    const bool follows = std::any_of(ahead.begin(), ahead.end(), [&](const Sequence* first) {
      return blocks.gains_by_waiting(*candidate, *first);
    });
    if (!follows) ahead.push_back(candidate);
  }
  return ahead;
}

void Engine::Impl::admit(Sequence& sequence) {
  emit_first_prompt_token(sequence);
  blocks.adopt(sequence, running);
  if (sequence.was_preempted) return;
  sequence.n_cached = std::min(sequence.n_computed, sequence.n_prompt);
  counted.cached_prompt_tokens += sequence.n_cached;
}

// Its whole blocks stay known while nobody needs the room.
void Engine::Impl::preempt_last() {
  auto sequence = std::move(running.back());
  running.pop_back();
  release(*sequence);
  sequence->was_preempted = true;
  ++counted.preempted;
  waiting.push_front(std::move(sequence));
}

void Engine::Impl::release(Sequence& sequence) {
  blocks.release(sequence);
  if (draft_model) draft_model->release(sequence);
}

// Memory is short, or our own defect: whoever takes part fails, the engine lives.
void Engine::Impl::fail_step(const char* reason) {
  log_error("engine step failed", {{"model", model->name}, {"reason", reason}});
  for (auto& sequence : running) finish(*sequence, FinishReason::error, reason);
}

// Runs the granted tokens through the model, then serves everyone who waits for logits.
void Engine::Impl::compute(const StepPlan& step_plan) {
  segments.clear();
  wanted_rows.clear();
  uint32_t row = 0;
  for (size_t i = 0; i < running.size(); ++i) {
    Sequence& sequence = *running[i];
    if (step_plan.grants[i].tokens == 0) {
      sequence.guess.clear();
      continue;
    }
    place(sequence, step_plan.grants[i]);
    for (uint32_t t = 0; t < sequence.step_tokens.size(); ++t, ++row) {
      const uint32_t position = sequence.n_computed + t;
      if (sequence.wants_logits(position)) wanted_rows.push_back({&sequence, row, position});
    }
  }
  const ThreadTeam::Turn turn(*team);
  backend->forward(segments);
  for (size_t i = 0; i < running.size(); ++i) {
    Sequence& sequence = *running[i];
    const uint32_t before = std::min(sequence.n_computed, sequence.n_prompt);
    sequence.n_computed += step_plan.grants[i].tokens;
    counted.prompt_tokens += std::min(sequence.n_computed, sequence.n_prompt) - before;
    blocks.publish(sequence);
  }
  read_logits();
  for (auto& sequence : running) {
    if (!sequence->done && sequence->max_tokens == 0 && sequence->n_missing() == 0) {
      finish(*sequence, FinishReason::length);
    }
  }
}

// Gives the sequence blocks for what it computes and puts it into the batch.
void Engine::Impl::place(Sequence& sequence, const Grant& grant) {
  const auto missing = std::span(sequence.tokens).subspan(sequence.n_computed, grant.tokens);
  sequence.step_tokens.assign(missing.begin(), missing.end());
  sequence.guess.resize(grant.drafts);
  sequence.n_right = 0;
  sequence.step_tokens.insert(sequence.step_tokens.end(), sequence.guess.begin(),
                              sequence.guess.end());
  const auto n_tokens = static_cast<uint32_t>(sequence.step_tokens.size());
  blocks.extend(sequence, sequence.n_computed + n_tokens);
  segments.push_back(
      {.tokens = sequence.step_tokens, .position = sequence.n_computed, .blocks = sequence.blocks});
}

void Engine::Impl::read_logits() {
  // Together all share one pass over the output head; many pay for a pass of their own.
  const auto first_other = std::ranges::stable_partition(
      wanted_rows, [](const WantedRow& wanted) { return wanted.sequence->wants_greatest(); });
  auto n_greedy = static_cast<size_t>(wanted_rows.size() - first_other.size());
  if (!first_other.empty() && wanted_rows.size() <= kLogitRows) n_greedy = 0;
  const auto wanted = std::span<const WantedRow>(wanted_rows);
  read_greedy(wanted.first(n_greedy));
  for (size_t from = n_greedy; from < wanted.size(); from += kLogitRows) {
    read_rows(wanted.subspan(from, std::min(kLogitRows, wanted.size() - from)));
  }
  for (auto& sequence : running) settle_drafts(*sequence);
}

// Rows of which only the greatest logit matters.
void Engine::Impl::read_greedy(std::span<const WantedRow> wanted) {
  if (wanted.empty()) return;
  const auto greatest = backend->greatest(batch_rows(wanted));
  for (size_t i = 0; i < wanted.size(); ++i) {
    serve(wanted[i], [&](Sequence& sequence, uint32_t position) {
      read_choice(sequence, position, greatest[i]);
    });
  }
}

void Engine::Impl::read_rows(std::span<const WantedRow> wanted) {
  const size_t vocabulary = model->config.vocab_size;
  const auto logits = backend->logits(batch_rows(wanted));
  for (size_t i = 0; i < wanted.size(); ++i) {
    serve(wanted[i], [&](Sequence& sequence, uint32_t position) {
      read_row(sequence, position, logits.subspan(i * vocabulary, vocabulary));
    });
  }
}

std::span<const uint32_t> Engine::Impl::batch_rows(std::span<const WantedRow> wanted) {
  rows.clear();
  for (const WantedRow& row : wanted) rows.push_back(row.row);
  return rows;
}

// read(sequence, position), unless it has ended; what is thrown ends it alone.
template <class Read>
void Engine::Impl::serve(const WantedRow& wanted, Read read) {
  Sequence& sequence = *wanted.sequence;
  if (sequence.done) return;
  try {
    read(sequence, wanted.position);
  } catch (const std::exception& failure) {
    log_error("generation failed", {{"model", model->name}, {"reason", failure.what()}});
    finish(sequence, FinishReason::error, failure.what());
  }
}

// Right drafts were computed in their place; the others are overwritten when their turn comes.
void Engine::Impl::settle_drafts(Sequence& sequence) {
  const auto n_guessed = static_cast<uint32_t>(sequence.guess.size());
  const uint32_t n_right = sequence.n_right;
  sequence.drafter.learn(n_guessed, n_right);
  sequence.n_accepted += n_right;
  sequence.n_rejected += n_guessed - n_right;
  counted.accepted_draft_tokens += n_right;
  counted.rejected_draft_tokens += n_guessed - n_right;
  if (!sequence.done) sequence.n_computed += n_right;
  sequence.guess.clear();
  sequence.n_right = 0;
}

// The logits at a position are there.
void Engine::Impl::read_row(Sequence& sequence, uint32_t position, std::span<const float> logits) {
  if (position + 1 < sequence.n_prompt) return score_prompt(sequence, position, logits);
  if (is_refuted(sequence, position)) return;
  const TokenId token = sequence.sampler.sample(logits, sequence.n_output(), sampler_scratch);
  take_token(sequence, position, token, logits);
}

// The greatest logit's token is there, and is all that is wanted.
void Engine::Impl::read_choice(Sequence& sequence, uint32_t position, TokenId token) {
  if (is_refuted(sequence, position)) return;
  if (token == kNoToken) throw std::runtime_error("the model's logits are not finite");
  take_token(sequence, position, token, {});
}

// Logits behind a wrong draft are of another text.
bool Engine::Impl::is_refuted(const Sequence& sequence, uint32_t position) const {
  return position >= sequence.n_computed && position - sequence.n_computed >= sequence.n_right;
}

void Engine::Impl::score_prompt(Sequence& sequence, uint32_t position,
                                std::span<const float> logits) {
  if (position + 1 < sequence.n_scored) return;  // before it was preempted
  TokenEvent event;
  event.kind = TokenEvent::Kind::prompt_token;
  event.token = sequence.tokens[position + 1];
  score(sequence, event, logits);
  sequence.state->push(std::move(event));
  sequence.n_scored = position + 2;
}

// The token after `position` is chosen.
void Engine::Impl::take_token(Sequence& sequence, uint32_t position, TokenId token,
                              std::span<const float> logits) {
  const GenerationRequest& request = sequence.state->request;
  TokenEvent event;
  event.token = token;
  if (ends(sequence, event.token)) return finish(sequence, FinishReason::stop);
  if (request.logprobs) score(sequence, event, logits);
  sequence.sampler.accept(event.token);
  sequence.tokens.push_back(event.token);
  add_counts(sequence, event);
  ++counted.generated_tokens;
  sequence.state->push(std::move(event));
  if (sequence.n_output() == sequence.max_tokens) return finish(sequence, FinishReason::length);
  check_draft(sequence, position);
}

// The token after `position` was chosen: when it is the draft that was computed there, the next
// row of logits counts too.
void Engine::Impl::check_draft(Sequence& sequence, uint32_t position) {
  const size_t draft = position + 1 - sequence.n_computed;
  if (sequence.n_right != draft || draft >= sequence.guess.size()) return;
  if (sequence.guess[draft] != sequence.tokens.back()) return;
  ++sequence.n_right;
}

void Engine::Impl::score(Sequence& sequence, TokenEvent& event, std::span<const float> logits) {
  const LogSoftmax log_softmax(logits, logprob_scratch);
  event.has_logprobs = true;
  event.logprob = log_softmax.at(event.token);
  event.top_logprobs = log_softmax.top(sequence.state->request.logprobs.value_or(0));
}

void Engine::Impl::emit_first_prompt_token(Sequence& sequence) {
  if (!sequence.state->request.prompt_logprobs || sequence.n_scored > 0) return;
  TokenEvent event;
  event.kind = TokenEvent::Kind::prompt_token;
  event.token = sequence.tokens.front();
  sequence.state->push(std::move(event));
  sequence.n_scored = 1;
}

bool Engine::Impl::ends(const Sequence& sequence, TokenId token) const {
  const GenerationRequest& request = sequence.state->request;
  const bool eos = !request.ignore_eos && model->tokenizer != nullptr &&
                   token == model->tokenizer->special().eos;
  return eos || std::find(request.stop_tokens.begin(), request.stop_tokens.end(), token) !=
                    request.stop_tokens.end();
}

void Engine::Impl::finish(Sequence& sequence, FinishReason reason, std::string error) {
  if (sequence.done) return;
  sequence.done = true;
  release(sequence);  // before the event: who has read it finds the memory free
  TokenEvent event;
  event.kind = TokenEvent::Kind::finish;
  event.finish = reason;
  event.error = std::move(error);
  add_counts(sequence, event);
  sequence.state->push(std::move(event));
}

void Engine::Impl::retire_finished() {
  std::erase_if(running, [](const auto& sequence) { return sequence->done; });
}

void Engine::Impl::publish_stats() {
  counted.running = static_cast<uint32_t>(running.size());
  counted.waiting = static_cast<uint32_t>(waiting.size());
  counted.kv_tokens_used = (cache.n_blocks() - blocks.count_free(running)) * kKvBlockTokens;
  counted.kv_tokens_cached = blocks.n_known() * kKvBlockTokens;
  counted.evicted_blocks = blocks.n_evicted();
  const std::lock_guard lock(mutex);
  stats = counted;
}

Engine::Engine(std::shared_ptr<const Model> model, const EngineOptions& options)
    : impl_(std::make_unique<Impl>(std::move(model), options)) {}

Engine::~Engine() = default;

Result<Generation> Engine::submit(GenerationRequest request) {
  std::vector<GenerationRequest> one;
  one.push_back(std::move(request));
  auto generations = impl_->submit_all(std::move(one));
  if (!generations) return generations.error();
  return std::move(generations->front());
}

Result<std::vector<Generation>> Engine::submit_all(std::vector<GenerationRequest> requests) {
  return impl_->submit_all(std::move(requests));
}

void Engine::drain() {
  const std::lock_guard lock(impl_->mutex);
  impl_->draining = true;
}

bool Engine::idle() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->inbox.empty() && impl_->stats.waiting == 0 && impl_->stats.running == 0;
}

EngineStats Engine::stats() const {
  const std::lock_guard lock(impl_->mutex);
  EngineStats stats = impl_->stats;
  stats.waiting += static_cast<uint32_t>(impl_->inbox.size());
  return stats;
}

const Model& Engine::model() const { return *impl_->model; }
uint32_t Engine::max_context() const { return impl_->max_context; }

}  // namespace tristill::engine
