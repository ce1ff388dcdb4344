#include "model/engine/engine.h"

#include <algorithm>
#include <mutex>
#include <numeric>
#include <thread>

#include "base/check.h"
#include "base/log.h"
#include "base/seconds_since.h"
#include "model/backend.h"
#include "model/engine/cache_size.h"
#include "model/engine/draft_model.h"
#include "model/engine/generation.h"
#include "model/engine/output_grammar.h"
#include "model/engine/pace.h"
#include "model/engine/request_check.h"
#include "model/engine/scheduler.h"
#include "model/engine/scores.h"
#include "model/engine/sequence.h"
#include "model/engine/sequence_cache.h"
#include "model/engine/waiting_queue.h"
#include "model/engine/warm_up.h"

namespace tristill::engine {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kLogitRows = 32;  // rows of logits held at once
constexpr uint32_t kStateRows = 128;  // of states
// Rows of a step that cost little more than one: what drafts of all sequences may fill.
constexpr uint32_t kDraftRows = 12;

// First the one that gives up its place last.
bool outranks(const std::unique_ptr<Sequence>& a, const std::unique_ptr<Sequence>& b) {
  const int32_t x = a->state->request.priority;
  const int32_t y = b->state->request.priority;
  return x > y || (x == y && a->arrival < b->arrival);
}

}  // namespace

struct Engine::Impl {
  Impl(std::shared_ptr<const Model> served, const EngineOptions& wanted);
  ~Impl();

  Result<std::vector<Generation>> submit_all(std::vector<GenerationRequest> requests);

  void run();
  void warm_up();
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
  std::optional<Pace::Step> compute(const StepPlan& plan);
  void fail_step(const char* reason);
  void place(Sequence& sequence, const Grant& grant);
  struct WantedRow;
  void read_states(Sequence& sequence, uint32_t row);
  void read_logits();
  void read_greedy(std::span<const WantedRow> wanted);
  void read_rows(std::span<const WantedRow> wanted);
  std::span<const uint32_t> batch_rows(std::span<const WantedRow> wanted);
  template <class Read>
  void serve(const WantedRow& wanted, Read read);
  void read_row(Sequence& sequence, uint32_t position, std::span<const float> logits);
  void read_choice(Sequence& sequence, uint32_t row, uint32_t position, TokenId token);
  void take_token(Sequence& sequence, uint32_t position, TokenId token,
                  std::span<const float> logits);
  void end_without_token(Sequence& sequence);
  void settle_drafts(Sequence& sequence);
  void finish_prompt(Sequence& sequence);
  void finish(Sequence& sequence, FinishReason reason, std::string error = {}, TokenEvent end = {});
  void note_end(const Sequence& sequence);
  void retire_finished();
  void publish();

  // A row of logits that someone waits for.
  struct WantedRow {
    Sequence* sequence;
    uint32_t row;  // in the batch
    uint32_t position;
  };

  const std::shared_ptr<const Model> model;
  const EngineOptions options;

  mutable std::mutex mutex;  // guards the next six
  std::condition_variable wake;
  std::vector<std::unique_ptr<Sequence>> inbox;
  EngineStats stats;
  Load load;
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
  Pace pace;            // to load.pace
  std::vector<Segment> segments;
  std::vector<WantedRow> wanted_rows;
  std::vector<uint32_t> rows;
  std::vector<TokenId> greatest;
  OutputGrammars grammars{model->tokenizer};
  std::vector<RunningView> running_views, waiting_views;  // scratch of publish
  SamplerScratch sampler_scratch;
  std::vector<float> logprob_scratch;

  std::thread thread;  // last: starts when all else is there
};

Engine::Impl::Impl(std::shared_ptr<const Model> served, const EngineOptions& wanted)
    : model(std::move(served)),
      options(wanted),
      load{.running = {}, .waiting = {}, .pace = Pace(model->weight_bytes)},
      cache(model->config, count_cache_blocks(model->config, options), options.kv_format),
      max_context(std::min<uint32_t>(context_limit(model->config, options),
                                     cache.n_blocks() * kKvBlockTokens)),
      team(options.team != nullptr
               ? options.team
               : std::make_shared<ThreadTeam>(
                     options.n_threads == 0 ? usable_cores() : options.n_threads,
                     options.placement)),
      backend(make_backend(options.device, model, cache, *team, max_context)),
      blocks(cache, *backend, options.prefix_cache, model->config.sliding_window),
      pace(load.pace) {
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
    if (auto valid = check_request(request, model->config, max_context); !valid) {
      return valid.error();
    }
    if (auto valid = grammars.check(request); !valid) return valid.error();
    const auto room = max_context - static_cast<uint32_t>(request.prompt.size());
    const uint32_t max_tokens = std::min(request.max_tokens, room);
    auto state = std::make_shared<GenerationState>(std::move(request));
    sequences.push_back(std::make_unique<Sequence>(state, max_tokens, options.draft_tokens));
    sequences.back()->set_end_tokens(model->tokenizer.get());
    if (state->request.embed) sequences.back()->embedding.emplace(model->config.d_model);
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
  warm_up();
  if (!options.prefix_folder.empty()) blocks.remember(options.prefix_folder, *model);
  publish();
  while (take_inbox()) {
    try {
      drop_cancelled();
      end_late();
      step();
    } catch (const std::exception& failure) {
      fail_step(failure.what());
    }
    retire_finished();
    publish();
  }
  for (auto& sequence : running) finish(*sequence, FinishReason::error, "the engine stopped");
  waiting.erase_if([this](Sequence& sequence) {
    finish(sequence, FinishReason::error, "the engine stopped");
    return true;
  });
  if (!options.prefix_folder.empty()) blocks.keep(options.prefix_folder, *model);
}

void Engine::Impl::warm_up() {
  try {
    pace.calibrate(
        time_steps(*backend, *team, cache.n_blocks(), max_context, options, pace.cost()));
  } catch (const std::exception& failure) {
    log_warn("engine did not warm up", {{"model", model->name}, {"reason", failure.what()}});
  }
}

// Waits for work; false when the engine must end.
bool Engine::Impl::take_inbox() {
  std::unique_lock lock(mutex);
  wake.wait(lock,
            [this] { return stopping || !inbox.empty() || !running.empty() || !waiting.empty(); });
  for (auto& sequence : inbox) {
    sequence->arrival = n_arrived++;
    load.waiting.push_back(sequence->view());
    waiting.push(std::move(sequence));
  }
  inbox.clear();
  stats.waiting = static_cast<uint32_t>(waiting.size());
  return !stopping;
}

void Engine::Impl::drop_cancelled() {
  const auto drop = [this](Sequence& sequence) {
    if (!sequence.is_cancelled()) return false;
    release(sequence);
    note_end(sequence);
    ++counted.cancelled;
    return true;
  };
  std::erase_if(running, [&](auto& sequence) { return drop(*sequence); });
  waiting.erase_if(drop);
}

void Engine::Impl::end_late() {
  const auto now = Clock::now();
  const auto is_late = [now](const Sequence& sequence) {
    return sequence.clock.is_late(now, sequence.state->request);
  };
  for (auto& sequence : running) {
    if (is_late(*sequence)) finish(*sequence, FinishReason::deadline);
  }
  retire_finished();
  waiting.erase_if([&](Sequence& sequence) {
    if (!is_late(sequence)) return false;
    if (sequence.clock.is_admitted()) {
      finish(sequence, FinishReason::deadline);
    } else {
      finish(sequence, FinishReason::error, "the deadline passed before a place was free");
    }
    return true;
  });
}

void Engine::Impl::step() {
  const auto began = Clock::now();
  const std::vector<Sequence*> candidates = admissible();
  StepPlan step_plan = plan(candidates);
  for (uint32_t i = 0; i < step_plan.n_preempted; ++i) preempt_last();
  step_plan.grants.erase(step_plan.grants.begin() + static_cast<std::ptrdiff_t>(running.size()),
                         step_plan.grants.begin() +
                             static_cast<std::ptrdiff_t>(running.size() + step_plan.n_preempted));
  for (uint32_t i = 0; i < step_plan.n_admitted; ++i) {
    auto next = waiting.take(*candidates[i]);
    next->place = free_place(running);
    running.push_back(std::move(next));
    admit(*running.back());
    // More of its beginning may be known by now than when the step was planned.
    uint32_t& granted = step_plan.grants[running.size() - 1].tokens;
    granted = std::min(granted, running.back()->n_missing());
  }
  if (running.empty()) return;
  ++counted.steps;
  const uint64_t n_generated = counted.generated_tokens;
  std::optional<Pace::Step> done = compute(step_plan);
  if (!done) return;
  done->seconds = seconds_since(began);
  done->n_output_tokens = static_cast<uint32_t>(counted.generated_tokens - n_generated);
  pace.observe_step(*done);
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
  return blocks.leaders(waiting.first(options.max_sequences - running.size()), running);
}

void Engine::Impl::admit(Sequence& sequence) {
  sequence.clock.admit(Clock::now());
  sequence.state->admitted.store(true, std::memory_order_relaxed);
  emit_first_prompt_token(sequence);
  if (!sequence.grammar) sequence.grammar = grammars.begin(sequence.state->request);
  blocks.adopt(sequence, running);
  if (sequence.was_preempted) return;
  sequence.n_cached = std::min(sequence.n_computed, sequence.n_prompt);
  counted.cached_prompt_tokens += sequence.n_cached;
  pace.observe_prompt(sequence.n_prompt, sequence.n_prompt - sequence.n_cached);
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

// Runs the granted tokens through the model, then serves everyone who waits for logits. Stops, and
// has done nothing, when all have left.
std::optional<Pace::Step> Engine::Impl::compute(const StepPlan& step_plan) {
  Pace::Step done = {};
  segments.clear();
  wanted_rows.clear();
  uint32_t row = 0;
  for (size_t i = 0; i < running.size(); ++i) {
    Sequence& sequence = *running[i];
    if (step_plan.grants[i].tokens == 0) {
      sequence.guess.clear();
      continue;
    }
    const uint32_t n_tokens = step_plan.grants[i].tokens;
    const bool is_turn = n_tokens == sequence.n_missing() && sequence.max_tokens > 0;
    done.n_turns += is_turn ? 1 : 0;
    done.n_prompt_tokens += n_tokens - (is_turn ? 1 : 0);
    place(sequence, step_plan.grants[i]);
    for (uint32_t t = 0; t < sequence.step_tokens.size(); ++t, ++row) {
      const uint32_t position = sequence.n_computed + t;
      if (sequence.wants_logits(position)) wanted_rows.push_back({&sequence, row, position});
    }
  }
  const ThreadTeam::Turn turn(*team);
  const auto all_left = [this] {
    return std::ranges::all_of(running, [](const auto& other) { return other->is_cancelled(); });
  };
  if (!backend->forward_unless(segments, all_left)) return std::nullopt;
  row = 0;
  for (size_t i = 0; i < running.size(); ++i) {
    Sequence& sequence = *running[i];
    if (step_plan.grants[i].tokens == 0) continue;
    read_states(sequence, row);
    row += static_cast<uint32_t>(sequence.step_tokens.size());
    const uint32_t before = std::min(sequence.n_computed, sequence.n_prompt);
    sequence.n_computed += step_plan.grants[i].tokens;
    counted.prompt_tokens += std::min(sequence.n_computed, sequence.n_prompt) - before;
    blocks.publish(sequence);
  }
  read_logits();
  for (auto& sequence : running) {
    if (sequence->max_tokens == 0 && sequence->n_missing() == 0) finish_prompt(*sequence);
  }
  return done;
}

// Adds what the step computed, from this row of the batch on, to the prompt's embedding.
void Engine::Impl::read_states(Sequence& sequence, uint32_t row) {
  if (!sequence.embedding) return;
  // What was computed before a preemption is passed over.
  const auto end = sequence.n_computed + static_cast<uint32_t>(sequence.step_tokens.size());
  for (uint32_t from = sequence.embedding->n_positions(); from < end;) {
    const uint32_t n = std::min(kStateRows, end - from);
    rows.resize(n);
    std::iota(rows.begin(), rows.end(), row + (from - sequence.n_computed));
    sequence.embedding->add(backend->states(rows));
    from += n;
  }
}

// The prompt has been computed, and there is no output.
void Engine::Impl::finish_prompt(Sequence& sequence) {
  if (sequence.embedding && !sequence.embedding->is_finite()) {
    return finish(sequence, FinishReason::error, "the model's states are not finite");
  }
  finish(sequence, FinishReason::length);
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
  const auto found = backend->greatest(batch_rows(wanted));
  greatest.assign(found.begin(), found.end());
  for (size_t i = 0; i < wanted.size(); ++i) {
    serve(wanted[i], [&](Sequence& sequence, uint32_t position) {
      read_choice(sequence, wanted[i].row, position, greatest[i]);
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
  if (position + 1 < sequence.n_prompt) {
    return emit_prompt_token(sequence, position + 1, logits, logprob_scratch);
  }
  if (sequence.is_refuted(position)) return;
  const TokenId token =
      sequence.sampler.sample(logits, sequence.n_output(), sampler_scratch, sequence.grammar.get());
  if (token == kNoToken) return end_without_token(sequence);
  take_token(sequence, position, token, logits);
}

// The greatest logit's token is there, and is all that is wanted unless a grammar forbids it.
void Engine::Impl::read_choice(Sequence& sequence, uint32_t row, uint32_t position, TokenId token) {
  if (sequence.is_refuted(position)) return;
  if (token == kNoToken) throw std::runtime_error("the model's logits are not finite");
  if (sequence.grammar && !sequence.grammar->allows(token)) {
    return read_row(sequence, position, backend->logits({&row, 1}));
  }
  take_token(sequence, position, token, {});
}

// The token after `position` is chosen.
void Engine::Impl::take_token(Sequence& sequence, uint32_t position, TokenId token,
                              std::span<const float> logits) {
  const GenerationRequest& request = sequence.state->request;
  TokenEvent event;
  event.token = token;
  if (request.logprobs) score(request, position + 1, logits, logprob_scratch, event);
  if (std::ranges::find(sequence.end_tokens, token) != sequence.end_tokens.end()) {
    return finish(sequence, FinishReason::stop, {}, std::move(event));
  }
  sequence.sampler.accept(event.token);
  sequence.tokens.push_back(event.token);
  const auto now = Clock::now();
  sequence.clock.start_output(now);
  sequence.describe(now, event);
  ++counted.generated_tokens;
  sequence.state->push(std::move(event));
  if (sequence.grammar) {
    CHECK(sequence.grammar->accept(token));
    if (sequence.grammar->must_end()) return finish(sequence, FinishReason::stop);
  }
  if (sequence.n_output() == sequence.max_tokens) return finish(sequence, FinishReason::length);
  sequence.check_draft(position);
}

// The grammar lets no token come.
void Engine::Impl::end_without_token(Sequence& sequence) {
  if (sequence.grammar->may_end()) return finish(sequence, FinishReason::stop);
  finish(sequence, FinishReason::error,
         "no token of the vocabulary goes on as the grammar demands");
}

void Engine::Impl::finish(Sequence& sequence, FinishReason reason, std::string error,
                          TokenEvent end) {
  if (sequence.done) return;
  sequence.done = true;
  release(sequence);  // before the event: who has read it finds the memory free
  note_end(sequence);
  end.kind = TokenEvent::Kind::finish;
  end.finish = reason;
  end.error = std::move(error);
  if (reason == FinishReason::length && sequence.embedding) {
    end.embedding = sequence.embedding->mean();
  }
  sequence.describe(Clock::now(), end);
  sequence.state->push(std::move(end));
}

// How long outputs become; what had no place says nothing of it.
void Engine::Impl::note_end(const Sequence& sequence) {
  const bool had_place = sequence.clock.is_admitted() && sequence.max_tokens > 0;
  if (had_place) pace.observe_end(sequence.n_output());
}

void Engine::Impl::retire_finished() {
  std::erase_if(running, [](const auto& sequence) { return sequence->done; });
}

void Engine::Impl::publish() {
  counted.running = static_cast<uint32_t>(running.size());
  counted.waiting = static_cast<uint32_t>(waiting.size());
  counted.kv_tokens_used = (cache.n_blocks() - blocks.count_free(running)) * kKvBlockTokens;
  counted.kv_tokens_cached = blocks.n_known() * kKvBlockTokens;
  counted.evicted_blocks = blocks.n_evicted();
  running_views.clear();
  for (const auto& sequence : running) running_views.push_back(sequence->view());
  waiting_views.clear();
  waiting.for_each([this](const Sequence& sequence) { waiting_views.push_back(sequence.view()); });
  const std::lock_guard lock(mutex);
  stats = counted;
  load.running.swap(running_views);
  load.waiting.swap(waiting_views);
  load.pace = pace;
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

std::vector<RunningView> Engine::running() const {
  std::vector<RunningView> views;
  {
    const std::lock_guard lock(impl_->mutex);
    views = impl_->load.running;
  }
  std::ranges::sort(views, {}, &RunningView::place);
  return views;
}

std::chrono::milliseconds Engine::predicted_wait() const {
  std::unique_lock lock(impl_->mutex);
  Load load = impl_->load;
  for (const auto& sequence : impl_->inbox) load.waiting.push_back(sequence->view());
  lock.unlock();
  return predict_wait(load, impl_->options, impl_->cache.n_blocks() * kKvBlockTokens);
}

const Model& Engine::model() const { return *impl_->model; }
uint32_t Engine::max_context() const { return impl_->max_context; }

}  // namespace tristill::engine
