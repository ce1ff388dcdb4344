#include "train/loss/head_loss.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "model/kernels/kernels.h"
#include "train/loss/distillation.h"
#include "train/loss/sampled_tail.h"

namespace tristill::train {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

constexpr int64_t kChunk = 1024;
constexpr int64_t kRowBlock = 64;
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

struct Chunk {
  int64_t begin, end;
};

// The logits of a chunk by the serving head, or by a full-precision product.
Tensor chunk_logits(const Tensor& hidden, const LinearWeight& head, Chunk chunk) {
  const torch::NoGradGuard no_grad;
  return linear_group(hidden.slice(0, chunk.begin, chunk.end), {&head})[0];
}

void add(LossSums& sums, const LossSums& part) {
  sums.ce += part.ce;
  sums.kd += part.kd;
  sums.z += part.z;
  sums.format += part.format;
  sums.weighted += part.weighted;
  sums.tokens += part.tokens;
  sums.taught_tokens += part.taught_tokens;
  sums.format_tokens += part.format_tokens;
}

// What the token at a flat row has to learn.
TokenTargets targets_of(int64_t row, int64_t label, const TeacherTargets& teacher) {
  TokenTargets targets;
  targets.label = label;
  const auto found = std::lower_bound(teacher.rows.begin(), teacher.rows.end(), row);
  if (found == teacher.rows.end() || *found != row) return targets;
  const auto index = static_cast<size_t>(found - teacher.rows.begin());
  targets.ids = teacher.ids.data() + teacher.offsets[index];
  targets.logprobs = teacher.logprobs.data() + teacher.offsets[index];
  targets.count = teacher.offsets[index + 1] - teacher.offsets[index];
  targets.sampled = teacher.sampled[index] != 0;
  return targets;
}

// Losses and gradients of one chunk: logits become gradients. Partial sums are added in row order,
// so the reported loss does not depend on the threads.
void chunk_losses(Tensor& logits, Chunk chunk, const int64_t* label, const TeacherTargets& teacher,
                  const LossWeights& weights, float factor, LossSums& sums) {
  const int64_t vocab = logits.size(1);
  const int64_t blocks = (chunk.end - chunk.begin + kRowBlock - 1) / kRowBlock;
  std::vector<LossSums> parts(static_cast<size_t>(blocks));
  at::parallel_for(0, blocks, 1, [&](int64_t from, int64_t to) {
    for (int64_t block = from; block < to; ++block) {
      const int64_t first = chunk.begin + block * kRowBlock;
      for (int64_t row = first; row < std::min(first + kRowBlock, chunk.end); ++row) {
        add(parts[static_cast<size_t>(block)],
            token_loss(logits.data_ptr<float>() + (row - chunk.begin) * vocab, vocab,
                       targets_of(row, label[row], teacher), weights, factor));
      }
    }
  });
  for (const LossSums& part : parts) add(sums, part);
}

bool is_structural(int64_t label, const LossWeights& weights) {
  return weights.format > 0 && weights.structural[static_cast<size_t>(label)] != 0;
}

// A weight a token that makes the mean over all labels one over the labels of structure.
double format_weight_of(const int64_t* labels, int64_t n, int64_t n_labelled,
                        const LossWeights& weights) {
  const auto structural = std::count_if(
      labels, labels + n, [&](int64_t y) { return y >= 0 && is_structural(y, weights); });
  if (structural == 0) return 0;
  return weights.format * static_cast<double>(n_labelled) / static_cast<double>(structural);
}

struct HeadLoss : torch::autograd::Function<HeadLoss> {
  static Variable forward(AutogradContext* ctx, const Variable& hidden, const Variable& latent,
                          const LinearWeight* head, const Tensor& labels,
                          const TeacherTargets* teacher, const LossWeights* weights,
                          LossSums* sums) {
    const int64_t n = hidden.size(0);
    const int64_t* label = labels.data_ptr<int64_t>();
    const auto labelled = std::count_if(label, label + n, [](int64_t y) { return y >= 0; });
    const float factor = 1.0F / static_cast<float>(std::max<int64_t>(labelled, 1));
    LossWeights scaled = *weights;
    scaled.format = format_weight_of(label, n, labelled, *weights);
    Tensor grad_hidden = at::empty_like(hidden);
    Tensor grad_latent = at::zeros_like(latent);
    *sums = {};
    for (int64_t begin = 0; begin < n; begin += kChunk) {
      const Chunk chunk{begin, std::min(begin + kChunk, n)};
      Tensor logits = chunk_logits(hidden, *head, chunk);
      chunk_losses(logits, chunk, label, *teacher, scaled, factor, *sums);
      const Tensor d_logits = logits.to(head->compute());
      const Tensor x = hidden.slice(0, chunk.begin, chunk.end).to(head->compute());
      grad_hidden.slice(0, chunk.begin, chunk.end).copy_(at::mm(d_logits, head->dequantized()));
      grad_latent.add_(at::mm(d_logits.t(), x));
    }
    ctx->save_for_backward({grad_hidden, grad_latent});
    return at::full({}, sums->weighted * factor, at::kFloat);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    Variable none;
    return {saved[0] * grads[0], saved[1] * grads[0], none, none, none, none, none};
  }
};

}  // namespace

LossSums token_loss(float* logits, int64_t vocab, const TokenTargets& targets,
                    const LossWeights& weights, float factor) {
  if (targets.label < 0) {
    std::fill(logits, logits + vocab, 0.0F);
    return {};
  }
  std::vector<float> capped;
  if (weights.softcap > 0) {
    apply_softcap(logits, vocab, weights.softcap);
    capped.assign(logits, logits + vocab);
  }
  const double max = maximum(logits, vocab);
  const double label_logit = logits[targets.label] - max;
  std::vector<double> listed(targets.count);
  for (size_t i = 0; i < targets.count; ++i) listed[i] = logits[targets.ids[i]] - max;
  const double sum =
      kernels::best().exp_sum(logits, static_cast<float>(max), static_cast<size_t>(vocab));
  const double lse = max + std::log(sum);

  const bool taught = targets.count > 0;
  const bool structural = is_structural(targets.label, weights);
  const double ce_weight = (taught ? weights.ce : 1.0) + (structural ? weights.format : 0.0);
  LossSums sums{.ce = std::log(sum) - label_logit, .z = lse * lse, .tokens = 1};
  if (structural) {
    sums.format = sums.ce;
    sums.format_tokens = 1;
  }
  // d loss / d z_j = exp(z_j - max) * everywhere; on the teacher's list it is given one by one.
  const double softmax_weight = (ce_weight + 2.0 * weights.z * lse) / sum;
  double everywhere = softmax_weight;
  KdTerm kd;
  if (taught) {
    kd = kd_term(logits, vocab, listed, label_logit, targets, weights.distillation);
    everywhere += weights.kd * kd.token.off_list / kd.tail;
    sums.kd = kd.token.loss;
    sums.taught_tokens = 1;
  }
  multiply_by(logits, static_cast<float>(everywhere * factor), vocab);
  for (size_t i = 0; i < targets.count; ++i) {
    const double gradient = softmax_weight * std::exp(listed[i]) + weights.kd * kd.token.on_list[i];
    logits[targets.ids[i]] = static_cast<float>(gradient * factor);
  }
  logits[targets.label] -= static_cast<float>((ce_weight - weights.kd * kd.at_label) * factor);
  for (size_t i = 0; i < capped.size(); ++i) {
    const float ratio = capped[i] / static_cast<float>(weights.softcap);
    logits[i] *= 1.0F - ratio * ratio;
  }
  sums.weighted = ce_weight * sums.ce + weights.kd * sums.kd + weights.z * sums.z;
  return sums;
}

Tensor head_loss(const Tensor& hidden, const LinearWeight& head, const Tensor& labels,
                 const TeacherTargets& teacher, const LossWeights& weights, LossSums& sums) {
  CHECK(hidden.size(0) == labels.numel() && labels.scalar_type() == at::kLong);
  CHECK(teacher.offsets.size() == teacher.rows.size() + 1);
  CHECK(teacher.sampled.size() == teacher.rows.size());
  CHECK(weights.format <= 0 ||
        static_cast<int64_t>(weights.structural.size()) == head.latent().size(0));
  return HeadLoss::apply(hidden, head.latent(), &head, labels, &teacher, &weights, &sums);
}

LossSums evaluate_head(const Tensor& hidden, const LinearWeight& head, const Tensor& labels,
                       const LossWeights& weights) {
  LossSums sums;
  const TeacherTargets none;
  for (int64_t begin = 0; begin < hidden.size(0); begin += kChunk) {
    const Chunk chunk{begin, std::min(begin + kChunk, hidden.size(0))};
    Tensor logits = chunk_logits(hidden, head, chunk);
    chunk_losses(logits, chunk, labels.data_ptr<int64_t>(), none, weights, 1.0F, sums);
  }
  return sums;
}

}  // namespace tristill::train
