#include "train/loss/token_loss.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "model/kernels/kernels.h"
#include "train/loss/dense_distillation.h"
#include "train/loss/distillation.h"
#include "train/loss/sampled_tail.h"

namespace tristill::train {
namespace {

constexpr double kLeastTail = 1e-30;  // the tail's shares stay floats

[[gnu::target_clones("avx512f", "avx2", "default")]]
float maximum(const float* x, int64_t n) {
  float lanes[16];
  for (float& lane : lanes) lane = x[0];
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (int64_t j = 0; j < 16; ++j) lanes[j] = x[i + j] > lanes[j] ? x[i + j] : lanes[j];
  }
  float best = x[0];
  for (; i < n; ++i) best = x[i] > best ? x[i] : best;
  for (const float lane : lanes) best = lane > best ? lane : best;
  return best;
}

[[gnu::target_clones("avx512f", "avx2", "default")]]
void multiply_by(float* x, float factor, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] *= factor;
}

[[gnu::target_clones("avx512f", "avx2", "default")]]
void add_to(float* x, float term, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] += term;
}

// Sums 16 lanes over blocks short enough for floats, the blocks in double.
[[gnu::target_clones("avx512f", "avx2", "default")]]
double sum_of(const float* x, int64_t n) {
  constexpr int64_t kBlock = 1024;
  double total = 0;
  int64_t i = 0;
  for (; i + 16 <= n; i += kBlock) {
    float lanes[16] = {};
    const int64_t end = std::min(i + kBlock, n / 16 * 16);
    for (int64_t at = i; at < end; at += 16) {
      for (int64_t j = 0; j < 16; ++j) lanes[j] += x[at + j];
    }
    for (const float lane : lanes) total += lane;
  }
  for (i = n / 16 * 16; i < n; ++i) total += x[i];
  return total;
}

// cap * tanh(x / cap), and afterwards the chain rule on the gradient.
void apply_softcap(float* logits, int64_t n, double cap) {
  for (int64_t i = 0; i < n; ++i) {
    logits[i] = static_cast<float>(cap * std::tanh(logits[i] / cap));
  }
}

// The distillation term of one token.
struct KdTerm {
  DistilledToken token;
  double tail = 1;       // sum of exp(z - max) off the teacher's list
  double at_label = 0;   // d kd / d z_label beside what all tokens get
};

// exps [V] are exp(z - max); those on the list become 0.
KdTerm kd_term(float* exps, int64_t vocab, std::vector<double> listed, double label_logit,
               const TokenTargets& targets, const job::DistillationSpec& spec) {
  KdTerm term;
  bool label_is_listed = false;
  for (size_t i = 0; i < targets.count; ++i) {
    exps[targets.ids[i]] = 0;
    label_is_listed = label_is_listed || targets.ids[i] == targets.label;
  }
  StudentMasses student{.listed = std::move(listed)};
  if (static_cast<int64_t>(targets.count) < vocab) {
    term.tail = std::max(sum_of(exps, vocab), kLeastTail);
    student.log_tail = std::log(term.tail);
  }
  term.token = distil(spec, {targets.logprobs, targets.count}, student);
  if (spec.tail == job::Tail::sampled && targets.sampled && !label_is_listed) {
    add_sampled_tail(label_logit, *student.log_tail, term.token);
    term.at_label = -1;
  }
  return term;
}

}  // namespace

LossSums& LossSums::operator+=(const LossSums& part) {
  ce += part.ce;
  kd += part.kd;
  z += part.z;
  format += part.format;
  relation += part.relation;
  weighted += part.weighted;
  tokens += part.tokens;
  taught_tokens += part.taught_tokens;
  format_tokens += part.format_tokens;
  return *this;
}

bool is_structural(int64_t label, const LossWeights& weights) {
  return weights.format > 0 && weights.structural[static_cast<size_t>(label)] != 0;
}

LossSums token_loss(float* logits, int64_t vocab, const TokenTargets& targets,
                    const LossWeights& weights, float factor) {
  if (targets.label < 0) {
    std::fill(logits, logits + vocab, 0.0F);
    return {};
  }
  const bool dense = targets.dense != nullptr;
  if (weights.softcap > 0) apply_softcap(logits, vocab, weights.softcap);
  std::vector<float> kept;  // logits, where they are needed once they have become exps
  if (weights.softcap > 0 || dense) kept.assign(logits, logits + vocab);
  const double max = maximum(logits, vocab);
  const double label_logit = logits[targets.label] - max;
  std::vector<double> listed(targets.count);
  for (size_t i = 0; i < targets.count; ++i) listed[i] = logits[targets.ids[i]] - max;
  const double total = weights.label.smoothing > 0 ? sum_of(logits, vocab) : 0;
  const double sum =
      kernels::best().exp_sum(logits, static_cast<float>(max), static_cast<size_t>(vocab));
  const double lse = max + std::log(sum);

  const bool taught = targets.count > 0 || dense;
  const bool structural = !targets.own && is_structural(targets.label, weights);
  const double label_weight = targets.own ? 0.0 : taught ? weights.ce : 1.0;
  const double format_weight = structural ? weights.format : 0.0;
  LossSums sums{.ce = std::log(sum) - label_logit, .z = lse * lse, .tokens = 1};
  const LabelTerm term =
      label_term(weights.label, sums.ce, lse - total / static_cast<double>(vocab), vocab);
  if (structural) {
    sums.format = sums.ce;
    sums.format_tokens = 1;
  }
  // d loss / d z_j = exp(z_j - max) * everywhere; on the teacher's list it is given one by one.
  const double softmax_weight =
      (label_weight * term.softmax + format_weight + 2.0 * weights.z * lse) / sum;
  double everywhere = softmax_weight;
  KdTerm kd;
  if (targets.count > 0) {
    kd = kd_term(logits, vocab, listed, label_logit, targets, weights.distillation);
    everywhere += weights.kd * kd.token.off_list / kd.tail;
    sums.kd = kd.token.loss;
  }
  sums.taught_tokens = taught ? 1 : 0;
  multiply_by(logits, static_cast<float>(everywhere * factor), vocab);
  for (size_t i = 0; i < targets.count; ++i) {
    const double gradient = softmax_weight * std::exp(listed[i]) + weights.kd * kd.token.on_list[i];
    logits[targets.ids[i]] = static_cast<float>(gradient * factor);
  }
  const double at_label = label_weight * term.label + format_weight - weights.kd * kd.at_label;
  logits[targets.label] -= static_cast<float>(at_label * factor);
  if (term.uniform > 0) {
    add_to(logits, static_cast<float>(-label_weight * term.uniform * factor), vocab);
  }
  if (dense) {
    sums.kd = add_dense_distillation(weights.distillation, targets.dense, kept.data(), vocab,
                                     weights.kd * factor, logits);
  }
  for (int64_t i = 0; weights.softcap > 0 && i < vocab; ++i) {
    const float ratio = kept[static_cast<size_t>(i)] / static_cast<float>(weights.softcap);
    logits[i] *= 1.0F - ratio * ratio;
  }
  sums.weighted = label_weight * term.loss + format_weight * sums.ce + weights.kd * sums.kd +
                  weights.z * sums.z;
  return sums;
}

}  // namespace tristill::train
