#include "server/openai/completion.h"

#include <algorithm>
#include <charconv>
#include <ctime>
#include <nlohmann/json.hpp>

#include "base/sha256.h"
#include "model/tokenizer/fim.h"
#include "server/http/error.h"
#include "server/http/request_id.h"

namespace tristill::openai {
namespace {

using engine::FinishReason;
using nlohmann::json;
using std::chrono::milliseconds;

uint64_t random_seed() {
  const std::string digits = http::random_hex(8);
  uint64_t seed = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), seed, 16);
  return seed;
}

bool is_better(const Choice& a, const Choice& b) { return a.mean_logprob() > b.mean_logprob(); }

}  // namespace

json to_json(const Usage& usage) {
  return {{"prompt_tokens", usage.prompt},
          {"completion_tokens", usage.completion},
          {"total_tokens", usage.prompt + usage.completion},
          {"prompt_tokens_details", {{"cached_tokens", usage.cached}}},
          {"completion_tokens_details",
           {{"accepted_prediction_tokens", usage.accepted_drafts},
            {"rejected_prediction_tokens", usage.rejected_drafts}}}};
}

Completion::Completion(CompletionRequest request, std::shared_ptr<models::ServedModel> served,
                       const http::Request& from, Services& services)
    : request_(std::move(request)),
      served_(std::move(served)),
      services_(services),
      metrics_(services.metrics.model(served_->name)),
      ongoing_(services.history,
               {.request_id = from.request_id,
                .endpoint = from.route,
                .model = served_->name,
                .key_id = from.key_id,
                .stream = request_.stream,
                .n = request_.n,
                .max_tokens = request_.max_tokens,
                .n_prompts = request_.gap ? 1 : static_cast<uint32_t>(request_.prompts.size())}),
      id_(http::random_hex(12)),
      created_(std::time(nullptr)) {}

Completion::~Completion() = default;

Result<std::unique_ptr<Completion>> Completion::submit(CompletionRequest request,
                                                       std::shared_ptr<models::ServedModel> served,
                                                       const http::Request& from,
                                                       Services& services) {
  std::unique_ptr<Completion> completion(
      new Completion(std::move(request), std::move(served), from, services));
  if (auto started = completion->start(from); !started) {
    const Error& error = started.error();
    completion->ongoing_.record.error = error.message;
    completion->account(Outcome::finished, http::status_of(error.code));
    return error;
  }
  completion->enter_session(from);
  if (from.watch_client) {
    completion->watch_ = from.watch_client([flight = completion->flight_] { flight->bell.ring(); });
  }
  return completion;
}

// Ids as they are, texts as the tokens they consist of.
Result<void> Completion::add_biases() {
  const uint32_t vocabulary = served_->model->config.vocab_size;
  for (const auto& [id, bias] : request_.sampling.logit_bias) {
    if (static_cast<uint32_t>(id) < vocabulary) continue;
    const std::string where = "logit_bias." + std::to_string(id);
    return Error{ErrorCode::invalid_argument,
                 where + ": accepted are the ids 0 to " + std::to_string(vocabulary - 1), where};
  }
  for (const auto& [text, bias] : request_.text_bias) {
    for (const TokenId id : tokenizer().encode(text)) {
      request_.sampling.logit_bias.emplace_back(id, bias);
    }
  }
  return {};
}

Result<std::vector<TokenId>> Completion::gap_prompt() {
  const Gap& gap = *request_.gap;
  if (!gap.may_cut) {
    auto fits = check_bytes(gap.prefix.size() + gap.suffix.size(), *served_);
    if (!fits) return fits.error();
    return fim_prompt(tokenizer(), gap.prefix, gap.suffix);
  }
  const uint32_t context = served_->engine->max_context();
  const uint32_t output = std::min(request_.max_tokens, context / 2);
  FimSurroundings text{.prefix = gap.prefix, .suffix = gap.suffix, .context = {}};
  std::vector<std::string> others;  // each with what parts it from the next
  for (const ContextFile& file : gap.files) others.push_back(file.text + "\n\n");
  text.context.assign(others.begin(), others.end());
  auto prompt = fim_prompt_within(tokenizer(), text, context - output);
  if (!prompt) return prompt.error();
  prompt_was_cut_ = prompt->was_cut;
  return std::move(prompt->ids);
}

// The tokens of the i-th prompt, and the text that its completion follows.
Result<std::vector<TokenId>> Completion::prompt_of(size_t i, std::string& before) {
  auto ids = request_.gap ? gap_prompt() : tokens_of(request_.prompts[i], *served_);
  if (!ids) return ids;
  if (request_.truncate_prompt && ids->size() > *request_.truncate_prompt) {
    ids->erase(ids->begin(), ids->end() - *request_.truncate_prompt);
    prompt_was_cut_ = true;
  }
  before = request_.gap ? request_.gap->prefix : tokenizer().decode(*ids);
  return ids;
}

// What goes on after the prompt: no document of its own, so no token that begins one. One that is
// longer than the context cannot come true as a whole.
std::vector<TokenId> Completion::prediction_tokens() const {
  const size_t most = served_->longest_token * served_->engine->max_context();
  return tokenizer().encode(std::string_view(request_.prediction).substr(0, most));
}

engine::GenerationRequest Completion::generation_of(std::vector<TokenId> ids) const {
  const bool ranks = request_.best_of > request_.n;
  return {.prompt = std::move(ids),
          .sampling = request_.sampling,
          .max_tokens = request_.max_tokens,
          .stop_tokens = request_.stop_tokens,
          .ignore_eos = request_.ignore_eos,
          .logprobs = ranks ? request_.logprobs.value_or(0) : request_.logprobs,
          .prompt_logprobs = request_.echo && request_.logprobs && !request_.gap,
          .logprob_draws = request_.logprob_draws,
          .other_logprobs = request_.other_logprobs,
          .min_tokens = request_.min_tokens,
          .grammar = request_.grammar,
          .embed = request_.embed,
          .priority = request_.priority,
          .max_prefill = request_.max_prefill,
          .max_decode = request_.max_decode,
          .prediction = prediction_tokens()};
}

Result<void> Completion::start(const http::Request& from) {
  if (auto valid = add_biases(); !valid) return valid.error();
  const uint32_t context = served_->engine->max_context();
  if (request_.until_context) request_.max_tokens = context;
  const uint64_t seed = request_.seed ? static_cast<uint64_t>(*request_.seed) : random_seed();
  std::vector<engine::GenerationRequest> all;
  std::vector<std::pair<std::string, ChoiceOptions>> texts;  // of each: what is echoed
  const size_t n_prompts = request_.gap ? 1 : request_.prompts.size();
  for (size_t p = 0; p < n_prompts; ++p) {
    std::string before;
    auto ids = prompt_of(p, before);
    if (!ids) return ids.error();
    prompt_sizes_.push_back(static_cast<uint32_t>(ids->size()));
    prompt_tokens_ += ids->size();
    const auto room = context - std::min(context, static_cast<uint32_t>(ids->size()));
    engine::GenerationRequest wanted = generation_of(std::move(*ids));
    const ChoiceOptions options{.echo = request_.echo,
                                .logprobs = request_.logprobs.has_value(),
                                .echoes_tokens = wanted.prompt_logprobs,
                                .max_tokens = std::min(request_.max_tokens, room),
                                .ends = {.stops = request_.stop,
                                         .show_stop = request_.show_stop,
                                         .min_indent = request_.min_indent}};
    wanted.fairness_key = from.key_id;
    wanted.sampling.seed = seed;
    for (uint32_t i = 0; i < request_.best_of; ++i) {
      wanted.sampling.stream = all.size();
      all.push_back(wanted);
      texts.emplace_back(before, options);
    }
  }
  // Sampling without a seed is to give everyone texts of their own. A request without a body is one
  // of several that a body asked for: nothing here tells it from the others.
  const std::string key = request_.is_deterministic() && !from.body.empty()
                              ? to_hex(sha256(from.key_id + '\n' + from.path + '\n' +
                                              served_->model->fingerprint + '\n' + from.body))
                              : "";
  auto flight = services_.flights.join(key, [&](const std::function<void()>& ring) {
    for (engine::GenerationRequest& wanted : all) {
      wanted.on_event = ring;
      wanted.tells_end_only = !reads_along();
    }
    return served_->engine->submit_all(std::move(all));
  });
  if (!flight) return flight.error();
  flight_ = std::move(*flight);
  for (size_t i = 0; i < texts.size(); ++i) {
    choices_.emplace_back(static_cast<uint32_t>(i), *flight_->generations[i], tokenizer(),
                          texts[i].first, texts[i].second);
  }
  timers_.resize(choices_.size());
  return {};
}

void Completion::enter_session(const http::Request& from) {
  if (request_.session.empty() || !request_.gap) return;
  session_ = services_.sessions.enter({.session = from.key_id + '\n' + request_.session,
                                       .body = from.body,
                                       .prefix = request_.gap->prefix,
                                       .suffix = request_.gap->suffix,
                                       .is_named = request_.session.starts_with("session ")},
                                      [flight = flight_] { flight->bell.ring(); });
}

// Whether somebody waits for each token: a stream's client, or texts that may end the output.
bool Completion::reads_along() const {
  return request_.stream || !request_.stop.empty() || request_.min_indent > 0;
}

bool Completion::is_superseded() const { return session_ && session_->is_superseded(); }

bool Completion::finished() const {
  return std::all_of(choices_.begin(), choices_.end(),
                     [](const Choice& choice) { return choice.finished(); });
}

bool Completion::take_events() {
  bool moved = false;
  for (size_t i = 0; i < choices_.size(); ++i) {
    while (choices_[i].advance()) {
      const ChoiceCounts& counts = choices_[i].counts();
      const double ms = counts.queued_ms + counts.prefill_ms + counts.decode_ms;
      timers_[i].tokens(counts.generated, ms / 1000, metrics_);
      moved = true;
    }
  }
  return moved;
}

bool Completion::advance(milliseconds limit) {
  const uint64_t rung = flight_->bell.count();
  const bool moved = take_events();
  if (services_.registry.is_cut() || is_superseded()) {
    for (Choice& choice : choices_) choice.cut();
    return true;
  }
  if (!moved && limit.count() > 0) flight_->bell.wait(rung, limit);
  return moved;
}

Completion::Outcome Completion::run(const std::function<bool()>& client_gone) {
  while (!finished()) {
    if (client_gone()) {
      take_events();
      return Outcome::client_left;
    }
    advance(kSilence);
  }
  return is_superseded() ? Outcome::superseded : Outcome::finished;
}

void Completion::keep_best() {
  if (request_.best_of == request_.n) return;
  std::vector<Choice> kept;
  for (size_t first = 0; first < choices_.size(); first += request_.best_of) {
    const auto begin = choices_.begin() + static_cast<ptrdiff_t>(first);
    std::stable_sort(begin, begin + request_.best_of, is_better);
    for (uint32_t i = 0; i < request_.best_of; ++i) {
      Choice& choice = begin[i];
      if (i < request_.n) {
        choice.set_index(static_cast<uint32_t>(kept.size()));
        kept.push_back(std::move(choice));
      } else {
        dropped_generated_ += choice.counts().generated;
      }
    }
  }
  choices_ = std::move(kept);
  best_kept_ = true;
}

Usage Completion::usage() const {
  Usage usage{.prompt = prompt_tokens_, .completion = dropped_generated_};
  for (const Choice& choice : choices_) {
    const ChoiceCounts& counts = choice.counts();
    usage.completion += counts.generated;
    usage.accepted_drafts += counts.accepted_drafts;
    usage.rejected_drafts += counts.rejected_drafts;
    if (choice.index() % n_of_prompt() == 0) usage.cached += counts.cached;
  }
  return usage;
}

namespace {

ops::FinishedReason reason_of(FinishReason reason) {
  switch (reason) {
    case FinishReason::none: return ops::FinishedReason::abort;
    case FinishReason::stop: return ops::FinishedReason::stop;
    case FinishReason::error: return ops::FinishedReason::error;
    default: return ops::FinishedReason::length;
  }
}

}  // namespace

ops::Phase Completion::phase() const {
  if (usage().completion > 0) return ops::Phase::decode;
  const bool was_admitted =
      flight_ && std::ranges::any_of(flight_->generations,
                                     [](const auto& one) { return one->was_admitted(); });
  return was_admitted ? ops::Phase::prefill : ops::Phase::queue;
}

void Completion::account(Outcome outcome, int status) {
  ops::RequestRecord& record = ongoing_.record;
  if (record.finished) return;
  record.status = status;
  const Usage used = usage();
  if (outcome == Outcome::client_left) {
    record.cancelled = phase();
  }
  if (!choices_.empty()) record.prompt_tokens = used.prompt;
  record.cached_tokens = used.cached;
  record.accepted_drafts = used.accepted_drafts;
  record.rejected_drafts = used.rejected_drafts;
  for (const Choice& choice : choices_) {
    const ChoiceCounts& counts = choice.counts();
    record.choices.push_back({.finished_reason = reason_of(choice.finish()),
                              .prompt_tokens = prompt_sizes_[choice.index() / n_of_prompt()],
                              .generated_tokens = counts.generated,
                              .queued_ms = counts.queued_ms,
                              .prefill_ms = counts.prefill_ms,
                              .decode_ms = counts.decode_ms});
    if (record.error.empty()) record.error = choice.error();
  }
  ongoing_.finish();
  if (services_.limits != nullptr) {
    services_.limits->spend(record.key_id, used.prompt + used.completion);
  }
}

}  // namespace tristill::openai
