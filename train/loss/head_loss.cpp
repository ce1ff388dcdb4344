#include "train/loss/head_loss.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "model/kernels/kernels.h"

namespace tristill::train {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

constexpr int64_t kChunk = 1024;
constexpr int64_t kRowBlock = 64;
constexpr double kMinOther = 1e-6;

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

// cap * tanh(x / cap), and afterwards the chain rule on the gradient.
void apply_softcap(float* logits, int64_t n, double cap) {
  for (int64_t i = 0; i < n; ++i) {
    logits[i] = static_cast<float>(cap * std::tanh(logits[i] / cap));
  }
}

// What the distillation term needs of one token.
struct KdTerm {
  double loss = 0;
  double tail_factor = 1;  // d kd / d z_j = q_j * tail_factor outside K
};

KdTerm kd_term(const float* q, const TokenTargets& targets) {
  double teacher_mass = 0;
  double student_mass = 0;
  double loss = 0;
  for (size_t i = 0; i < targets.count; ++i) {
    const double t = std::exp(static_cast<double>(targets.logprobs[i]));
    const double p = std::max<double>(q[targets.ids[i]], 1e-30);
    teacher_mass += t;
    student_mass += q[targets.ids[i]];
    loss += t * (targets.logprobs[i] - std::log(p));
  }
  const double teacher_other = std::max(1.0 - teacher_mass, 0.0);
  const double student_other = std::max(1.0 - student_mass, kMinOther);
  if (teacher_other > 0) loss += teacher_other * std::log(teacher_other / student_other);
  return {loss, 1.0 - teacher_other / student_other};
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
  sums.weighted += part.weighted;
  sums.tokens += part.tokens;
  sums.taught_tokens += part.taught_tokens;
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

struct HeadLoss : torch::autograd::Function<HeadLoss> {
  static Variable forward(AutogradContext* ctx, const Variable& hidden, const Variable& latent,
                          const LinearWeight* head, const Tensor& labels,
                          const TeacherTargets* teacher, const LossWeights* weights,
                          LossSums* sums) {
    const int64_t n = hidden.size(0);
    const int64_t* label = labels.data_ptr<int64_t>();
    const auto labelled = std::count_if(label, label + n, [](int64_t y) { return y >= 0; });
    const float factor = 1.0F / static_cast<float>(std::max<int64_t>(labelled, 1));
    Tensor grad_hidden = at::empty_like(hidden);
    Tensor grad_latent = at::zeros_like(latent);
    *sums = {};
    for (int64_t begin = 0; begin < n; begin += kChunk) {
      const Chunk chunk{begin, std::min(begin + kChunk, n)};
      Tensor logits = chunk_logits(hidden, *head, chunk);
      chunk_losses(logits, chunk, label, *teacher, *weights, factor, *sums);
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
  const auto size = static_cast<size_t>(vocab);
  const float label_logit = logits[targets.label];
  const float max = maximum(logits, vocab);
  const float sum = kernels::best().exp_sum(logits, max, size);
  multiply_by(logits, 1.0F / sum, vocab);  // now q
  const double lse = max + std::log(static_cast<double>(sum));

  const bool taught = targets.count > 0;
  const double ce_weight = taught ? weights.ce : 1.0;
  const double kd_weight = taught ? weights.kd : 0.0;
  LossSums sums{.ce = lse - label_logit, .z = lse * lse, .tokens = 1};
  KdTerm kd;
  if (taught) {
    kd = kd_term(logits, targets);
    sums.kd = kd.loss;
    sums.taught_tokens = 1;
  }
  // d loss / d z_j = q_j * everywhere, and on K the tail's factor gives way to q_j - t_j.
  const double everywhere = ce_weight + 2.0 * weights.z * lse + kd_weight * kd.tail_factor;
  std::vector<float> inside(targets.count);
  for (size_t i = 0; i < targets.count; ++i) {
    const double q = logits[targets.ids[i]];
    const double t = std::exp(static_cast<double>(targets.logprobs[i]));
    inside[i] = static_cast<float>(kd_weight * ((1.0 - kd.tail_factor) * q - t)) * factor;
  }
  multiply_by(logits, static_cast<float>(everywhere) * factor, vocab);
  for (size_t i = 0; i < targets.count; ++i) logits[targets.ids[i]] += inside[i];
  logits[targets.label] -= static_cast<float>(ce_weight) * factor;
  for (size_t i = 0; i < capped.size(); ++i) {
    const float ratio = capped[i] / static_cast<float>(weights.softcap);
    logits[i] *= 1.0F - ratio * ratio;
  }
  sums.weighted = ce_weight * sums.ce + kd_weight * sums.kd + weights.z * sums.z;
  return sums;
}

Tensor head_loss(const Tensor& hidden, const LinearWeight& head, const Tensor& labels,
                 const TeacherTargets& teacher, const LossWeights& weights, LossSums& sums) {
  CHECK(hidden.size(0) == labels.numel() && labels.scalar_type() == at::kLong);
  CHECK(teacher.rows.empty() || teacher.offsets.size() == teacher.rows.size() + 1);
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
