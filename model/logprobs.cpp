#include "model/logprobs.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "model/kernels/kernels.h"
#include "model/portable_math.h"
#include "model/reduce.h"

namespace tristill {

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
  const float sum = kernels::best().exp_sum(scratch.data(), max_, scratch.size());
  log_sum_ = static_cast<float>(portable_log(static_cast<double>(sum)));
}

float LogSoftmax::at(TokenId token) const {
  return (logits_[static_cast<size_t>(token)] - max_) - log_sum_;
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
