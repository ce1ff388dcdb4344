#include "model/engine/pace.h"

#include <algorithm>
#include <cmath>

namespace tristill::engine {
namespace {

constexpr double kStepWeight = 1.0 / 10;  // of one observation, at least
constexpr double kEndWeight = 1.0 / 16;
constexpr double kMostSurprise = 3.0;  // a step that took longer by more counts as this
constexpr double kStartBytesPerSecond = 2e10;

// A sequence's turn and a prompt's token, of what all sequences share: a little more than
// bench/results has for shapes of 100M to 2B, where a turn is a greedy one.
constexpr double kStartTurn = 2.0 / 3;
constexpr double kStartPrompt = 1.0 / 3;

}  // namespace

void RecentMean::add(double x) {
  ++n_;
  const double weight = std::max(1.0 / n_, least_weight_);
  value_ += weight * (x - value_);
}

Pace::Pace(uint64_t weight_bytes)
    : cost_{.fixed_s = static_cast<double>(weight_bytes) / kStartBytesPerSecond},
      tokens_per_turn_(1.0, kStepWeight),
      computed_share_(1.0, kEndWeight),
      n_output_(0.0, kEndWeight) {
  cost_.turn_s = cost_.fixed_s * kStartTurn;
  cost_.prompt_s = cost_.fixed_s * kStartPrompt;
}

void Pace::calibrate(const StepCost& cost) {
  cost_ = cost;
  n_steps_ = static_cast<uint32_t>(1 / kStepWeight);
}

// What a step took more or less than expected is shared among its parts as they were expected: so
// all stay positive, and parts that always come together keep their proportion.
void Pace::observe_step(const Step& step) {
  double* const parts[] = {&cost_.fixed_s, &cost_.turn_s, &cost_.prompt_s};
  const double counts[] = {1.0, static_cast<double>(step.n_turns),
                           static_cast<double>(step.n_prompt_tokens)};
  double expected = 0;
  for (size_t i = 0; i < 3; ++i) expected += *parts[i] * counts[i];
  if (!(step.seconds > 0) || !(expected > 0)) return;
  ++n_steps_;
  const double ratio = step.seconds / expected;
  const double weight = std::max(1.0 / n_steps_, kStepWeight);
  for (size_t i = 0; i < 3; ++i) {
    if (n_steps_ == 1) {
      *parts[i] *= ratio;
      continue;
    }
    const double share = *parts[i] * counts[i] / expected;
    *parts[i] *= 1 + weight * share * (std::min(ratio, kMostSurprise) - 1);
  }
  if (step.n_turns > 0) {
    tokens_per_turn_.add(static_cast<double>(step.n_output_tokens) / step.n_turns);
  }
}

void Pace::observe_prompt(uint32_t n_tokens, uint32_t n_missing) {
  computed_share_.add(static_cast<double>(n_missing) / std::max(1U, n_tokens));
}

void Pace::observe_end(uint32_t n_output) { n_output_.add(n_output); }

double Pace::expected_output(const RunningView& view) const {
  const double most = view.max_tokens;
  return n_output_.is_empty() ? most : std::min(most, n_output_.value());
}

OutstandingWork Pace::work_left(const RunningView& view) const {
  const double expected = expected_output(view);
  const double left = std::max(expected - view.n_output, expected / 4);
  const uint32_t most = view.max_tokens - std::min(view.max_tokens, view.n_output);
  return {.prompt_tokens = static_cast<double>(view.n_prompt - view.n_prompt_done),
          .output_tokens = std::min(left, static_cast<double>(most))};
}

OutstandingWork Pace::work_ahead(const RunningView& view) const {
  OutstandingWork work = work_left(view);
  work.prompt_tokens *= computed_share_.value();
  return work;
}

std::chrono::milliseconds predict_wait(const Load& load, const EngineOptions& options,
                                       uint32_t cache_tokens) {
  Outlook outlook{.running = {},
                  .waiting = {},
                  .places = options.max_sequences,
                  .step_tokens = options.step_tokens,
                  .prefill_tokens = options.prefill_tokens,
                  .cost = load.pace.cost(),
                  // A turn that chose an end gave no token.
                  .tokens_per_turn = std::max(0.5, load.pace.tokens_per_turn())};
  double n_tokens = 0;
  for (const auto* views : {&load.running, &load.waiting}) {
    for (const RunningView& view : *views) {
      n_tokens += view.n_prompt + load.pace.expected_output(view);
    }
  }
  for (const RunningView& view : load.running) {
    outlook.running.push_back(load.pace.work_left(view));
  }
  for (const RunningView& view : load.waiting) {
    outlook.waiting.push_back(load.pace.work_ahead(view));
  }
  if (!load.waiting.empty()) {  // for want of places, or of cache
    const double mean = n_tokens / static_cast<double>(load.running.size() + load.waiting.size());
    const auto fit = static_cast<uint32_t>(cache_tokens / std::max(1.0, mean));
    outlook.places = std::clamp(std::max(fit, static_cast<uint32_t>(load.running.size())), 1U,
                                options.max_sequences);
  }
  const double wait_ms = 1000 * estimate_wait_s(outlook);
  constexpr double kMostMs = 1e12;
  return std::chrono::milliseconds(std::llround(std::min(wait_ms, kMostMs)));
}

}  // namespace tristill::engine
