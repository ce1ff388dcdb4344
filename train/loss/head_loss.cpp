#include "train/loss/head_loss.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <vector>

#include "base/check.h"
#include "train/device/head_loss.h"
#include "train/device/ops.h"

namespace tristill::train {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

constexpr int64_t kChunk = 1024;
constexpr int64_t kRowBlock = 64;

struct Chunk {
  int64_t begin, end;
};

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

// All that labels and teachers say about the rows of a batch.
struct Targets {
  const int64_t* label;
  const TeacherTargets& listed;
  const DenseTargets& dense;

  // logprobs: the row's of teacher_logprobs, if there are any.
  TokenTargets of(int64_t row, const float* logprobs) const {
    TokenTargets targets = targets_of(row, label[row], listed);
    if (targets.count == 0) targets.dense = logprobs;
    targets.own = !dense.own.empty() && dense.own[static_cast<size_t>(row)] != 0;
    return targets;
  }
};

// Losses and gradients of one chunk: logits become gradients. Partial sums are added in row order,
// so the reported loss does not depend on the threads.
void chunk_losses(Tensor& logits, Chunk chunk, const Targets& targets, const LossWeights& weights,
                  float factor, LossSums& sums) {
  const int64_t vocab = logits.size(1);
  const Tensor teacher = teacher_logprobs(targets.dense.teachers, chunk.begin, chunk.end);
  const float* logprobs = teacher.defined() ? teacher.data_ptr<float>() : nullptr;
  const int64_t blocks = (chunk.end - chunk.begin + kRowBlock - 1) / kRowBlock;
  std::vector<LossSums> parts(static_cast<size_t>(blocks));
  at::parallel_for(0, blocks, 1, [&](int64_t from, int64_t to) {
    for (int64_t block = from; block < to; ++block) {
      const int64_t first = chunk.begin + block * kRowBlock;
      for (int64_t row = first; row < std::min(first + kRowBlock, chunk.end); ++row) {
        const int64_t at = (row - chunk.begin) * vocab;
        parts[static_cast<size_t>(block)] += token_loss(
            logits.data_ptr<float>() + at, vocab,
            targets.of(row, logprobs == nullptr ? nullptr : logprobs + at), weights, factor);
      }
    }
  });
  for (const LossSums& part : parts) sums += part;
}

// A weight a token that makes the mean over all labels one over those that the format loss counts.
double format_weight_of(const LabelCounts& counts, const LossWeights& weights) {
  if (counts.structural == 0) return 0;
  return weights.format * static_cast<double>(counts.labelled) /
         static_cast<double>(counts.structural);
}

struct HeadLoss : torch::autograd::Function<HeadLoss> {
  static Variable forward(AutogradContext* ctx, const Variable& hidden, const Variable& latent,
                          const LinearWeight* head, const Tensor& labels,
                          const TeacherTargets* teacher, const LossWeights* weights,
                          const LabelCounts* counts, const DenseTargets* dense, LossSums* sums,
                          bool learns) {
    const torch::NoGradGuard no_grad;
    const int64_t n = hidden.size(0);
    const Targets targets{labels.data_ptr<int64_t>(), *teacher, *dense};
    const float factor = static_cast<float>(weights->scale) /
                         static_cast<float>(std::max<int64_t>(counts->labelled, 1));
    LossWeights scaled = *weights;
    scaled.format = format_weight_of(*counts, *weights);
    Tensor grad_hidden, grad_latent;  // undefined: not wanted, and the head is not trained
    if (learns) grad_hidden = at::empty_like(hidden);
    if (learns && latent.requires_grad()) grad_latent = at::zeros_like(latent);
    *sums = {};
    for (int64_t begin = 0; begin < n; begin += kChunk) {
      const Chunk chunk{begin, std::min(begin + kChunk, n)};
      Tensor logits = chunk_logits(hidden, *head, chunk.begin, chunk.end);
      chunk_losses(logits, chunk, targets, scaled, factor, *sums);
      if (!learns) continue;
      const Tensor d_logits = logits.to(head->compute());
      grad_hidden.slice(0, chunk.begin, chunk.end).copy_(at::mm(d_logits, head->dequantized()));
      if (!grad_latent.defined()) continue;
      const Tensor x = hidden.slice(0, chunk.begin, chunk.end).to(head->compute());
      grad_latent.add_(at::mm(d_logits.t(), x));
    }
    ctx->save_for_backward({grad_hidden, grad_latent});
    return at::full({}, sums->weighted * factor, at::kFloat);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    Variable none;
    const Tensor of_latent = saved[1].defined() ? saved[1] * grads[0] : none;
    return {saved[0] * grads[0], of_latent, none, none, none, none, none, none, none, none};
  }
};

}  // namespace

LabelCounts count_labels(const Tensor& labels, const LossWeights& weights,
                         std::span<const uint8_t> own) {
  CHECK(own.empty() || static_cast<int64_t>(own.size()) == labels.numel());
  LabelCounts counts;
  const int64_t* label = labels.data_ptr<int64_t>();
  for (int64_t i = 0; i < labels.numel(); ++i) {
    if (label[i] < 0) continue;
    ++counts.labelled;
    const bool is_own = !own.empty() && own[static_cast<size_t>(i)] != 0;
    counts.structural += !is_own && is_structural(label[i], weights) ? 1 : 0;
  }
  return counts;
}

Tensor head_loss(const Tensor& hidden, const LinearWeight& head, const Tensor& labels,
                 const TeacherTargets& teacher, const LossWeights& weights, LossSums& sums,
                 const std::optional<LabelCounts>& whole, const DenseTargets& dense) {
  CHECK(hidden.size(0) == labels.numel() && labels.scalar_type() == at::kLong);
  CHECK(teacher.offsets.size() == teacher.rows.size() + 1);
  CHECK(teacher.sampled.size() == teacher.rows.size());
  CHECK(weights.format <= 0 ||
        static_cast<int64_t>(weights.structural.size()) == head.latent().size(0));
  const LabelCounts counts = whole ? *whole : count_labels(labels, weights, dense.own);
  if (device::takes(hidden)) {
    return device::head_loss(hidden, head, labels, {teacher, dense}, weights, counts, sums);
  }
  return HeadLoss::apply(hidden, head.latent(), &head, labels, &teacher, &weights, &counts, &dense,
                         &sums, at::GradMode::is_enabled());
}

LossSums evaluate_head(const Tensor& hidden, const LinearWeight& head, const Tensor& labels,
                       const LossWeights& weights) {
  if (device::takes(hidden)) return device::evaluate_head(hidden, head, labels, weights);
  LossSums sums;
  const TeacherTargets none;
  const DenseTargets nobody;
  const Targets targets{labels.data_ptr<int64_t>(), none, nobody};
  for (int64_t begin = 0; begin < hidden.size(0); begin += kChunk) {
    const Chunk chunk{begin, std::min(begin + kChunk, hidden.size(0))};
    Tensor logits = chunk_logits(hidden, head, chunk.begin, chunk.end);
    chunk_losses(logits, chunk, targets, weights, 1.0F, sums);
  }
  return sums;
}

}  // namespace tristill::train
