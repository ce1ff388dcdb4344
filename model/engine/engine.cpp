#include "model/engine/engine.h"

#include <algorithm>
#include <deque>
#include <mutex>
#include <thread>

#include "base/check.h"
#include "base/log.h"
#include "model/engine/generation.h"
#include "model/engine/scheduler.h"
#include "model/engine/sequence.h"
#include "model/kv_cache.h"
#include "model/threads.h"
#include "model/transformer.h"

namespace tristill::engine {
namespace {

constexpr uint64_t kDefaultCacheBytes = uint64_t{1} << 30;
constexpr size_t kLogitRows = 32;  // rows of logits held at once

uint32_t context_limit(const ModelConfig& config, const EngineOptions& options) {
  return options.max_context == 0 ? config.max_context
                                  : std::min(options.max_context, config.max_context);
}

uint32_t count_blocks(const ModelConfig& config, const EngineOptions& options) {
  constexpr uint64_t kMost = UINT32_MAX / kKvBlockTokens;
  uint64_t blocks = kv_blocks_for(options.kv_cache_tokens);
  if (blocks == 0) {
    blocks = uint64_t{kv_blocks_for(context_limit(config, options))} * options.max_sequences;
    blocks = std::min(blocks, kDefaultCacheBytes / kv_block_bytes(config));
  }
  return static_cast<uint32_t>(std::clamp<uint64_t>(blocks, 1, kMost));
}

TokenEvent finish_event(FinishReason reason, std::string error = {}) {
  TokenEvent event;
  event.kind = TokenEvent::Kind::finish;
  event.finish = reason;
  event.error = std::move(error);
  return event;
}

}  // namespace

struct Engine::Impl {
  Impl(std::shared_ptr<const Model> served, const EngineOptions& wanted);
  ~Impl();

  Result<void> check(const GenerationRequest& request) const;
  Result<Generation> submit(GenerationRequest request);

  void run();
  bool take_inbox();
  void drop_cancelled();
  void step();
  void compute(const StepPlan& plan);
  void fail_step(const char* reason);
  void place(Sequence& sequence, uint32_t n_tokens);
  void read_logits();
  void continue_sequence(Sequence& sequence, uint32_t position, std::span<const float> logits);
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

  mutable std::mutex mutex;  // guards inbox, stats, stopping, draining
  std::condition_variable wake;
  std::deque<std::unique_ptr<Sequence>> inbox;
  EngineStats stats;
  bool stopping = false;
  bool draining = false;

  // The engine thread's own.
  KvCache cache;
  const uint32_t max_context;
  ThreadTeam team;
  Transformer transformer;
  std::deque<std::unique_ptr<Sequence>> waiting;
  std::vector<std::unique_ptr<Sequence>> running;
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
      cache(model->config, count_blocks(model->config, options)),
      max_context(std::min<uint32_t>(context_limit(model->config, options),
                                     cache.n_blocks() * kKvBlockTokens)),
      team(options.n_threads == 0 ? usable_cores() : options.n_threads),
      transformer(model, cache, team, max_context) {
  CHECK(options.max_sequences > 0 && options.step_tokens > 0);
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

Result<Generation> Engine::Impl::submit(GenerationRequest request) {
  if (auto valid = check(request); !valid) return valid.error();
  const auto room = max_context - static_cast<uint32_t>(request.prompt.size());
  const uint32_t max_tokens = std::min(request.max_tokens, room);
  auto state = std::make_shared<GenerationState>(std::move(request));
  auto sequence = std::make_unique<Sequence>(state, max_tokens);
  {
    const std::lock_guard lock(mutex);
    if (draining) return Error{ErrorCode::unavailable, "the server is shutting down", ""};
    const uint64_t live = inbox.size() + stats.waiting + stats.running;
    if (live >= uint64_t{options.max_sequences} + options.max_queue) {
      return Error{ErrorCode::resource_exhausted,
                   "the queue is full: " + std::to_string(live) + " generations; try again later",
                   ""};
    }
    inbox.push_back(std::move(sequence));
  }
  wake.notify_one();
  return Generation(std::move(state));
}

void Engine::Impl::run() {
  while (take_inbox()) {
    try {
      drop_cancelled();
      step();
    } catch (const std::exception& failure) {
      fail_step(failure.what());
    }
    retire_finished();
    publish_stats();
  }
  for (auto& sequence : running) finish(*sequence, FinishReason::error, "the engine stopped");
  for (auto& sequence : waiting) finish(*sequence, FinishReason::error, "the engine stopped");
}

// Waits for work; false when the engine must end.
bool Engine::Impl::take_inbox() {
  std::unique_lock lock(mutex);
  wake.wait(lock,
            [this] { return stopping || !inbox.empty() || !running.empty() || !waiting.empty(); });
  for (auto& sequence : inbox) waiting.push_back(std::move(sequence));
  inbox.clear();
  stats.waiting = static_cast<uint32_t>(waiting.size());
  return !stopping;
}

void Engine::Impl::drop_cancelled() {
  const auto drop = [this](std::unique_ptr<Sequence>& sequence) {
    if (!sequence->state->cancelled.load(std::memory_order_acquire)) return false;
    for (const KvBlockId block : sequence->blocks) cache.release(block);
    ++counted.cancelled;
    return true;
  };
  std::erase_if(running, drop);
  std::erase_if(waiting, drop);
}

void Engine::Impl::step() {
  std::vector<RunningNeed> running_needs;
  std::vector<WaitingNeed> waiting_needs;
  uint32_t promised = 0;
  for (const auto& s : running) {
    running_needs.push_back({s->n_missing()});
    promised += s->n_reserved_blocks;
  }
  for (const auto& s : waiting) {
    if (running.size() + waiting_needs.size() >= options.max_sequences) break;
    waiting_needs.push_back({s->n_missing(), s->n_reserved_blocks});
  }
  const StepPlan plan = plan_step(running_needs, waiting_needs,
                                  {.step_tokens = options.step_tokens,
                                   .max_sequences = options.max_sequences,
                                   .free_blocks = cache.n_blocks() - promised,
                                   .step = counted.steps});
  for (uint32_t i = 0; i < plan.n_admitted; ++i) {
    emit_first_prompt_token(*waiting.front());
    running.push_back(std::move(waiting.front()));
    waiting.pop_front();
  }
  if (running.empty()) return;
  ++counted.steps;
  compute(plan);
}

// Memory is short, or our own defect: whoever takes part fails, the engine lives.
void Engine::Impl::fail_step(const char* reason) {
  log_error("engine step failed", {{"model", model->name}, {"reason", reason}});
  for (auto& sequence : running) finish(*sequence, FinishReason::error, reason);
}

// Runs the granted tokens through the model, then serves everyone who waits for logits.
void Engine::Impl::compute(const StepPlan& plan) {
  segments.clear();
  wanted_rows.clear();
  uint32_t row = 0;
  for (size_t i = 0; i < running.size(); ++i) {
    Sequence& sequence = *running[i];
    const uint32_t n = plan.grants[i];
    if (n == 0) continue;
    place(sequence, n);
    for (uint32_t t = 0; t < n; ++t, ++row) {
      const uint32_t position = sequence.n_computed + t;
      if (sequence.wants_logits(position)) wanted_rows.push_back({&sequence, row, position});
    }
  }
  transformer.forward(segments);
  for (size_t i = 0; i < running.size(); ++i) {
    Sequence& sequence = *running[i];
    const uint32_t before = std::min(sequence.n_computed, sequence.n_prompt);
    sequence.n_computed += plan.grants[i];
    counted.prompt_tokens += std::min(sequence.n_computed, sequence.n_prompt) - before;
  }
  read_logits();
  for (auto& sequence : running) {
    if (!sequence->done && sequence->max_tokens == 0 && sequence->n_missing() == 0) {
      finish(*sequence, FinishReason::length);
    }
  }
}

// Gives the sequence blocks for n more tokens and puts them into the batch.
void Engine::Impl::place(Sequence& sequence, uint32_t n_tokens) {
  const uint32_t blocks = kv_blocks_for(sequence.n_computed + n_tokens);
  CHECK(blocks <= sequence.n_reserved_blocks);
  while (sequence.blocks.size() < blocks) sequence.blocks.push_back(cache.acquire());
  segments.push_back({.tokens = std::span(sequence.tokens).subspan(sequence.n_computed, n_tokens),
                      .position = sequence.n_computed,
                      .blocks = sequence.blocks});
}

void Engine::Impl::read_logits() {
  const size_t vocabulary = model->config.vocab_size;
  for (size_t from = 0; from < wanted_rows.size(); from += kLogitRows) {
    const size_t n = std::min(kLogitRows, wanted_rows.size() - from);
    rows.clear();
    for (size_t i = 0; i < n; ++i) rows.push_back(wanted_rows[from + i].row);
    const auto logits = transformer.logits(rows);
    for (size_t i = 0; i < n; ++i) {
      const WantedRow& wanted = wanted_rows[from + i];
      if (wanted.sequence->done) continue;
      try {
        continue_sequence(*wanted.sequence, wanted.position,
                          logits.subspan(i * vocabulary, vocabulary));
      } catch (const std::exception& failure) {
        log_error("generation failed", {{"model", model->name}, {"reason", failure.what()}});
        finish(*wanted.sequence, FinishReason::error, failure.what());
      }
    }
  }
}

// The logits at a position are there: scores the next prompt token, or chooses the next token.
void Engine::Impl::continue_sequence(Sequence& sequence, uint32_t position,
                                     std::span<const float> logits) {
  const GenerationRequest& request = sequence.state->request;
  TokenEvent event;
  if (position + 1 < sequence.n_prompt) {
    event.kind = TokenEvent::Kind::prompt_token;
    event.token = sequence.tokens[position + 1];
    score(sequence, event, logits);
    sequence.state->push(std::move(event));
    return;
  }
  event.token = sequence.sampler.sample(logits, sequence.n_output(), sampler_scratch);
  if (ends(sequence, event.token)) return finish(sequence, FinishReason::stop);
  if (request.logprobs) score(sequence, event, logits);
  sequence.sampler.accept(event.token);
  sequence.tokens.push_back(event.token);
  ++counted.generated_tokens;
  sequence.state->push(std::move(event));
  if (sequence.n_output() == sequence.max_tokens) finish(sequence, FinishReason::length);
}

void Engine::Impl::score(Sequence& sequence, TokenEvent& event, std::span<const float> logits) {
  const LogSoftmax log_softmax(logits, logprob_scratch);
  event.has_logprobs = true;
  event.logprob = log_softmax.at(event.token);
  event.top_logprobs = log_softmax.top(sequence.state->request.logprobs.value_or(0));
}

void Engine::Impl::emit_first_prompt_token(Sequence& sequence) {
  if (!sequence.state->request.prompt_logprobs) return;
  TokenEvent event;
  event.kind = TokenEvent::Kind::prompt_token;
  event.token = sequence.tokens.front();
  sequence.state->push(std::move(event));
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
  // Before the event: who has read it finds the memory free.
  for (const KvBlockId block : sequence.blocks) cache.release(block);
  sequence.blocks.clear();
  sequence.state->push(finish_event(reason, std::move(error)));
}

void Engine::Impl::retire_finished() {
  std::erase_if(running, [](const auto& sequence) { return sequence->done; });
}

void Engine::Impl::publish_stats() {
  counted.running = static_cast<uint32_t>(running.size());
  counted.waiting = static_cast<uint32_t>(waiting.size());
  counted.kv_tokens_used = (cache.n_blocks() - cache.n_free()) * kKvBlockTokens;
  const std::lock_guard lock(mutex);
  stats = counted;
}

Engine::Engine(std::shared_ptr<const Model> model, const EngineOptions& options)
    : impl_(std::make_unique<Impl>(std::move(model), options)) {}

Engine::~Engine() = default;

Result<Generation> Engine::submit(GenerationRequest request) {
  return impl_->submit(std::move(request));
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
