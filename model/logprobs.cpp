#include "model/logprobs.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "model/kernels/kernels.h"
#include "model/portable_math.h"
#include "model/reduce.h"

namespace tristill {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Log of the sum of exp(x[i] - max); max is the greatest of x, which is overwritten. Added in
// double, in the lanes and the tree of reduce.h: a vocabulary of floats would lose seven bits.
double log_sum_of(std::vector<float>& x, float max) {
  kernels::best().exp_sum(x.data(), max, x.size());
  double lanes[kSumLanes] = {};
  for (size_t i = 0; i < x.size(); ++i) lanes[i % kSumLanes] += static_cast<double>(x[i]);
  for (size_t n = kSumLanes / 2; n > 0; n /= 2) {
    for (size_t i = 0; i < n; ++i) lanes[i] += lanes[i + n];
  }
  return portable_log(lanes[0]);
}

float to_float(double x) {
  return x < -static_cast<double>(std::numeric_limits<float>::max()) ? -kInfinity
                                                                     : static_cast<float>(x);
}

}  // namespace

TokenId greatest_of(std::span<const float> logits) {
  const float max = max_of(logits.data(), logits.size());
  if (!std::isfinite(max)) return kNoToken;
  return static_cast<TokenId>(std::find(logits.begin(), logits.end(), max) - logits.begin());
}

TokenId most_likely(std::span<const float> logits) {
  const TokenId token = greatest_of(logits);
  if (token == kNoToken) throw std::runtime_error("the model's logits are not finite");
  return token;
}

LogSoftmax::LogSoftmax(std::span<const float> logits, std::vector<float>& scratch)
    : logits_(logits), max_(logits[static_cast<size_t>(most_likely(logits))]) {
  scratch.assign(logits.begin(), logits.end());
  log_sum_ = log_sum_of(scratch, max_);
}

float LogSoftmax::at(TokenId token) const {
  const double x = static_cast<double>(logits_[static_cast<size_t>(token)]);
  return to_float((x - static_cast<double>(max_)) - log_sum_);
}

float LogSoftmax::other(TokenId token, std::span<const TokenLogprob> top,
                        std::vector<float>& scratch) const {
  scratch.assign(logits_.begin(), logits_.end());
  scratch[static_cast<size_t>(token)] = -kInfinity;
  for (const TokenLogprob& listed : top) scratch[static_cast<size_t>(listed.token)] = -kInfinity;
  // Relative to the greatest of the rest: the kernel's exponential ends at e^-87.
  const float max = max_of(scratch.data(), scratch.size());
  if (max == -kInfinity) return -kInfinity;
  const double shift = static_cast<double>(max) - static_cast<double>(max_);
  return to_float((shift - log_sum_) + log_sum_of(scratch, max));
}

std::vector<TokenLogprob> LogSoftmax::draw(std::span<double> uniforms,
                                           std::vector<float>& scratch) const {
  scratch.assign(logits_.begin(), logits_.end());
  kernels::best().exp_sum(scratch.data(), max_, scratch.size());
  double total = 0;
  for (const float weight : scratch) total += static_cast<double>(weight);
  const double below_total = std::nextafter(total, 0.0);
  for (double& u : uniforms) u = std::min(u * total, below_total);
  std::ranges::sort(uniforms);
  const auto n = static_cast<double>(uniforms.size());
  std::vector<std::pair<size_t, TokenId>> counts;
  double reached = 0;
  auto next = uniforms.begin();
  for (size_t i = 0; next != uniforms.end(); ++i) {
    reached += static_cast<double>(scratch[i]);
    const auto first = next;
    while (next != uniforms.end() && *next < reached) ++next;
    const auto count = static_cast<size_t>(next - first);
    if (count > 0) counts.emplace_back(count, static_cast<TokenId>(i));
  }
  std::ranges::stable_sort(counts, std::ranges::greater(), &std::pair<size_t, TokenId>::first);
  std::vector<TokenLogprob> drawn;
  drawn.reserve(counts.size());
  for (const auto& [count, token] : counts) {
    drawn.push_back({token, static_cast<float>(portable_log(static_cast<double>(count) / n))});
  }
  return drawn;
}

std::vector<TokenLogprob> LogSoftmax::top(uint32_t n) const {
  const auto better = [this](TokenId a, TokenId b) {
    const float x = logits_[static_cast<size_t>(a)];
    const float y = logits_[static_cast<size_t>(b)];
    return x > y || (x == y && a < b);
  };
  // The n best so far, best first. n is small: insertion beats a heap.
  std::vector<TokenId> best;
  const size_t count = std::min<size_t>(n, logits_.size());
  best.reserve(count + 1);
  for (size_t i = 0; count > 0 && i < logits_.size(); ++i) {
    const auto id = static_cast<TokenId>(i);
    if (std::isnan(logits_[i]) || (best.size() == count && !better(id, best.back()))) continue;
    best.insert(std::upper_bound(best.begin(), best.end(), id, better), id);
    if (best.size() > count) best.pop_back();
  }
  std::vector<TokenLogprob> result;
  result.reserve(best.size());
  for (const TokenId id : best) result.push_back({id, at(id)});
  return result;
}

}  // namespace tristill
