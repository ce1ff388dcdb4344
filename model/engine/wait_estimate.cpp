#include "model/engine/wait_estimate.h"

#include <algorithm>
#include <cstddef>
#include <limits>

namespace tristill::engine {
namespace {

constexpr double kNothing = 1e-6;  // tokens: what rounding leaves

double less(double tokens, double done) { return tokens - done > kNothing ? tokens - done : 0; }

// Advances to the next moment at which a sequence has read its prompt or ends. Seconds that took.
double advance(std::vector<OutstandingWork>& active, const Outlook& outlook) {
  const auto reads = [](const OutstandingWork& work) { return work.prompt_tokens > 0; };
  const auto reader = std::ranges::find_if(active, reads);
  const auto n_generating = static_cast<double>(active.size()) -
                            static_cast<double>(std::ranges::count_if(active, reads));
  double turns = 0;
  double gain = outlook.tokens_per_turn;  // of those that generate, in a step
  double prompt_tokens = outlook.step_tokens;  // in a step
  if (n_generating > 0) {
    prompt_tokens = std::clamp(prompt_tokens - n_generating, 1.0,
                               std::max(1.0, static_cast<double>(outlook.prefill_tokens)));
    turns = std::min(n_generating, static_cast<double>(outlook.step_tokens));  // turn about
    gain *= turns / n_generating;
  }
  double n_steps = std::numeric_limits<double>::max();
  for (const OutstandingWork& work : active) {
    if (!reads(work)) n_steps = std::min(n_steps, work.output_tokens / gain);
  }
  double step_s = outlook.cost.fixed_s + outlook.cost.turn_s * turns;
  if (reader != active.end()) {
    n_steps = std::min(n_steps, reader->prompt_tokens / prompt_tokens);
    step_s += outlook.cost.prompt_s * prompt_tokens;
  }
  for (OutstandingWork& work : active) {
    if (!reads(work)) work.output_tokens = less(work.output_tokens, n_steps * gain);
  }
  if (reader != active.end()) {
    reader->prompt_tokens = less(reader->prompt_tokens, n_steps * prompt_tokens);
  }
  return n_steps * step_s;
}

}  // namespace

double estimate_wait_s(const Outlook& outlook) {
  const size_t n_places = std::max(1U, outlook.places);
  std::vector<OutstandingWork> active = outlook.running;
  size_t next = 0;  // of those that wait
  double wait_s = 0;
  for (;;) {
    std::erase_if(active, [](const OutstandingWork& work) {
      return work.prompt_tokens <= 0 && work.output_tokens <= 0;
    });
    while (active.size() < n_places && next < outlook.waiting.size()) {
      active.push_back(outlook.waiting[next++]);
    }
    if (active.size() < n_places) return wait_s;
    wait_s += advance(active, outlook);
  }
}

}  // namespace tristill::engine
