#include "model/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <stdexcept>

#include "base/random.h"
#include "model/grammar/grammar_state.h"
#include "model/kernels/kernels.h"
#include "model/logprobs.h"
#include "model/reduce.h"

namespace tristill {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

size_t index(TokenId token) { return static_cast<size_t>(token); }

// Orders candidates best first, ties by lower id.
auto better_in(const std::vector<float>& logits) {
  return [&logits](TokenId a, TokenId b) {
    const float x = logits[index(a)];
    const float y = logits[index(b)];
    return x > y || (x == y && a < b);
  };
}

// weights[i] = exp(logit) of candidate i, at most 1; returns their sum, added in candidate order.
double weigh(SamplerScratch& scratch) {
  scratch.weights.resize(scratch.candidates.size());
  for (size_t i = 0; i < scratch.candidates.size(); ++i) {
    scratch.weights[i] = scratch.logits[index(scratch.candidates[i])];
  }
  kernels::best().exp_sum(scratch.weights.data(), 0.0F, scratch.weights.size());
  double sum = 0.0;
  for (const float w : scratch.weights) sum += static_cast<double>(w);
  return sum;
}

// Keeps the candidates whose weight is at least least; order and weights stay matched.
void keep_from(SamplerScratch& scratch, double least) {
  size_t kept = 0;
  for (size_t i = 0; i < scratch.candidates.size(); ++i) {
    if (static_cast<double>(scratch.weights[i]) < least) continue;
    scratch.candidates[kept] = scratch.candidates[i];
    scratch.weights[kept++] = scratch.weights[i];
  }
  scratch.candidates.resize(kept);
  scratch.weights.resize(kept);
}

// oddity[i] = how far the information -log p of candidate i is from its mean, the entropy.
void measure_oddity(SamplerScratch& scratch, double total) {
  const auto information = [&](size_t i) {  // less log(total), which falls out of the difference
    return -static_cast<double>(scratch.logits[index(scratch.candidates[i])]);
  };
  const size_t n = scratch.candidates.size();
  double mean = 0.0;
  for (size_t i = 0; i < n; ++i) {
    if (scratch.weights[i] <= 0.0F) continue;  // or 0 times infinity
    mean += static_cast<double>(scratch.weights[i]) / total * information(i);
  }
  scratch.oddity.resize(n);
  for (size_t i = 0; i < n; ++i) {
    const bool is_possible = scratch.weights[i] > 0.0F;
    scratch.oddity[i] =
        is_possible ? std::fabs(information(i) - mean) : std::numeric_limits<double>::infinity();
  }
}

// Keeps the least odd candidates that have share p of the weight. Meister et al. 2023, section 4.
// Ties by greater weight, then by place; order and weights stay matched.
void keep_typical(SamplerScratch& scratch, double p, double total) {
  measure_oddity(scratch, total);
  const auto odder = [&](uint32_t a, uint32_t b) {
    const std::vector<double>& oddity = scratch.oddity;
    const std::vector<float>& weights = scratch.weights;
    if (oddity[a] != oddity[b]) return oddity[a] > oddity[b];
    return weights[a] != weights[b] ? weights[a] < weights[b] : a > b;
  };
  // Few are kept of many: a heap, not a sort.
  auto& order = scratch.order;
  order.resize(scratch.candidates.size());
  std::iota(order.begin(), order.end(), 0U);
  std::make_heap(order.begin(), order.end(), odder);
  double reached = 0.0;
  auto last = order.end();
  while (last != order.begin() && (last == order.end() || reached < p * total)) {
    std::pop_heap(order.begin(), last, odder);
    reached += static_cast<double>(scratch.weights[*--last]);
  }
  std::sort(last, order.end());
  size_t kept = 0;
  for (auto i = last; i != order.end(); ++i, ++kept) {
    scratch.candidates[kept] = scratch.candidates[*i];
    scratch.weights[kept] = scratch.weights[*i];
  }
  scratch.candidates.resize(kept);
  scratch.weights.resize(kept);
}

double sum_of(const std::vector<float>& weights) {
  return std::accumulate(weights.begin(), weights.end(), 0.0,
                         [](double sum, float w) { return sum + static_cast<double>(w); });
}

}  // namespace

Sampler::Sampler(const SamplingParams& params, std::span<const TokenId> prompt) : params_(params) {
  if (!penalizes()) return;
  for (const TokenId token : prompt) seen_[token];
}

bool Sampler::penalizes() const {
  return params_.repetition_penalty != 1.0F || params_.presence_penalty != 0.0F ||
         params_.frequency_penalty != 0.0F;
}

void Sampler::ban_before(uint64_t position, std::vector<TokenId> tokens) {
  banned_ = std::move(tokens);
  ban_end_ = banned_.empty() ? 0 : position;
}

void Sampler::accept(TokenId token) {
  if (penalizes()) ++seen_[token];
}

TokenId Sampler::sample(std::span<const float> logits, uint64_t position, SamplerScratch& scratch,
                        GrammarState* grammar) const {
  if (is_greedy_from(position)) {
    const TokenId best = most_likely(logits);
    if (grammar == nullptr || grammar->allows(best)) return best;
  }
  scratch.logits.assign(logits.begin(), logits.end());
  adjust(scratch.logits, position);
  if (grammar != nullptr && !grammar->mask(scratch.logits)) return kNoToken;
  const TokenId best = greatest_of(scratch.logits);
  if (best == kNoToken) {
    most_likely(logits);  // throws where it is the model's fault
    if (grammar != nullptr) return kNoToken;
    throw std::runtime_error("no token is left that may be chosen");
  }
  if (params_.temperature == 0.0F) return best;
  // Relative to the best: 0 at most, so that no temperature overflows.
  const float max = scratch.logits[index(best)];
  for (float& x : scratch.logits) x = (x - max) / params_.temperature;
  return draw(position, scratch);
}

void Sampler::adjust(std::span<float> logits, uint64_t position) const {
  for (const auto& [token, bias] : params_.logit_bias) {
    if (token >= 0 && index(token) < logits.size()) logits[index(token)] += bias;
  }
  for (const auto& [token, n_output] : seen_) {
    float& x = logits[index(token)];
    x = x > 0.0F ? x / params_.repetition_penalty : x * params_.repetition_penalty;
    if (n_output == 0) continue;
    x -= params_.presence_penalty;
    x -= params_.frequency_penalty * static_cast<float>(n_output);
  }
  if (position >= ban_end_) return;
  for (const TokenId token : banned_) {
    if (token >= 0 && index(token) < logits.size()) logits[index(token)] = -kInfinity;
  }
}

// Candidates stand in id order, or best first when top_k or top_p had to rank them; the draw walks
// them in that order.
TokenId Sampler::draw(uint64_t position, SamplerScratch& scratch) const {
  auto& candidates = scratch.candidates;
  const size_t vocabulary = scratch.logits.size();
  candidates.resize(vocabulary);
  std::iota(candidates.begin(), candidates.end(), TokenId{0});
  if (params_.top_k > 0 && params_.top_k < vocabulary) {
    const auto end = candidates.begin() + static_cast<ptrdiff_t>(params_.top_k);
    std::partial_sort(candidates.begin(), end, candidates.end(), better_in(scratch.logits));
    candidates.erase(end, candidates.end());
  }
  double total = weigh(scratch);
  if (params_.typical_p < 1.0F) {
    keep_typical(scratch, static_cast<double>(params_.typical_p), total);
    total = sum_of(scratch.weights);
  }
  if (params_.min_p > 0.0F) {
    const float most = max_of(scratch.weights.data(), scratch.weights.size());
    keep_from(scratch, static_cast<double>(params_.min_p) * static_cast<double>(most));
    total = sum_of(scratch.weights);
  }
  if (params_.top_p < 1.0F) {
    // What is rarer than (1 - top_p) / n cannot be in the nucleus: all of it weighs less than
    // 1 - top_p. Only the rest is sorted.
    const double rest = 1.0 - static_cast<double>(params_.top_p);
    keep_from(scratch, rest * total / static_cast<double>(candidates.size()));
    std::sort(candidates.begin(), candidates.end(), better_in(scratch.logits));
    weigh(scratch);
    const double wanted = static_cast<double>(params_.top_p) * total;
    double reached = 0.0;
    size_t n = 0;
    while (n < candidates.size() && (n == 0 || reached < wanted)) {
      reached += static_cast<double>(scratch.weights[n++]);
    }
    candidates.resize(n);
    scratch.weights.resize(n);
    total = reached;
  }
  const double target = philox_uniform(params_.seed, params_.stream, position) * total;
  double reached = 0.0;
  size_t last = 0;
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (scratch.weights[i] <= 0.0F) continue;
    last = i;
    reached += static_cast<double>(scratch.weights[i]);
    if (reached > target) break;
  }
  return candidates[last];
}

}  // namespace tristill
