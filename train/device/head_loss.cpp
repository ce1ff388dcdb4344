// Dimensions: n rows of a chunk, R of them taught by lists of at most K tokens, V vocabulary.
// Without lists teachers in the process teach a row, if there are any.
#include "train/device/head_loss.h"

#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <optional>
#include <span>

#include "train/device/divergence.h"
#include "train/device/taught_rows.h"

namespace tristill::train::device {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

constexpr int64_t kChunk = 4096;
constexpr int64_t kTaughtChunk = 1024;  // with whole distributions of teachers beside the logits
constexpr int64_t kDenseBlock = 1 << 24;  // probabilities of teachers at once
constexpr double kLeastTail = 1e-30;  // as the CPU's
constexpr double kMostListed = 1 - 1e-6;
constexpr double kLeastLog = -100;

// What is the same for all chunks of a call.
struct Call {
  Call(const Tensor& given_labels, const AllTargets& given_teachers,
       const LossWeights& given_weights, double given_format, double given_factor,
       torch::Device device)
      : labels(given_labels.to(device)),
        listed(given_teachers.listed, device),
        dense(given_teachers.dense.teachers),
        weights(given_weights),
        format(given_format),
        factor(given_factor),
        sums(at::zeros({8}, at::device(device).dtype(at::kDouble))) {
    if (format > 0) structural = marks(weights.structural, device);
    if (!given_teachers.dense.own.empty()) own = marks(given_teachers.dense.own, device);
  }
  static Tensor marks(std::span<const uint8_t> values, torch::Device device) {
    const Tensor here = at::empty({static_cast<int64_t>(values.size())}, at::kByte);
    std::ranges::copy(values, here.data_ptr<uint8_t>());
    return here.to(device).to(at::kBool);
  }
  int64_t chunk() const { return dense.empty() ? kChunk : kTaughtChunk; }

  Tensor labels;  // [N] int64
  TeacherOnDevice listed;
  const std::vector<DenseTeacher>& dense;
  const LossWeights& weights;
  double format;  // a labelled token
  double factor;
  Tensor structural;  // [V] bool; undefined without a format loss
  Tensor own;         // [N] bool, labels that the student wrote; undefined: none
  Tensor sums;  // [8] fp64, in the order of LossSums
};

// log softmax(x / temperature), bounded below.
Tensor tempered(const Tensor& x, double temperature) {
  return (x / temperature).log_softmax(1).clamp_min(kLeastLog);
}

struct DistilledRows {
  Tensor loss;      // [R]
  Tensor on_list;   // [R, K]: by the listed logits
  Tensor off_list;  // [R]: by each other logit, times exp(z - log_tail)
};

// train/loss/distillation.h. listed [R, K], tail [R]: the student's, fp64.
DistilledRows distil(const job::DistillationSpec& spec, const TaughtRows& taught,
                     const Tensor& listed, const Tensor& tail, int64_t vocab) {
  const Tensor whole = taught.count.ge(vocab);  // lists of the whole vocabulary
  Tensor other_p = at::full_like(tail, kNothing);
  Tensor other_q = other_p;
  if (spec.tail != job::Tail::ignore) {
    const Tensor mass = taught.logprobs.exp().sum(1).clamp_max(kMostListed);
    if (spec.tail != job::Tail::counts) other_p = mass.neg().log1p().masked_fill_(whole, kNothing);
    other_q = tail.log().masked_fill_(whole, kNothing);
  }
  const Tensor student =
      listed.clamp_min(kNothing).masked_fill(taught.is_there.logical_not(), kNothing);
  const DivergedRows diverged = diverge(
      spec, {tempered(at::cat({taught.logprobs, other_p.unsqueeze(1)}, 1), spec.temperature),
             tempered(at::cat({student, other_q.unsqueeze(1)}, 1), spec.temperature)});
  const int64_t k = listed.size(1);
  return {diverged.loss * (spec.temperature * spec.temperature),
          diverged.gradient.slice(1, 0, k) * spec.temperature,
          diverged.gradient.select(1, k) * spec.temperature};
}

// One number a row of the chunk, [n] fp64.
struct RowNumbers {
  Tensor live;  // 1 with a label, else 0
  Tensor label_logit;  // less the row's greatest
  Tensor softmax_weight;  // d loss / d z_j = softmax_weight * exp(z_j - max) and what teaches
  Tensor everywhere;      // that and the teacher's share of tokens that it does not list
  Tensor at_label;        // d kd / d z_label beside what all tokens get
};

// The distillation of a chunk, in three steps around what becomes of its logits: read_listed before
// they are exp(z - max), teach after it, give_listed when all others are gradients.
struct Teaching {
  TaughtRows taught;
  Tensor flat;  // [R * K], where the listed tokens are in exps
  Tensor listed;  // [R, K] fp64, z - max
  DistilledRows distilled;
};

Teaching read_listed(const TaughtRows& taught, const Tensor& logits, const Tensor& max) {
  Teaching teaching{taught, {}, {}, {}};
  teaching.flat = (taught.rows.unsqueeze(1) * logits.size(1) + taught.ids).reshape({-1});
  teaching.listed = (logits.view({-1}).index_select(0, teaching.flat).view(taught.ids.sizes()) -
                     max.index_select(0, taught.rows))
                        .to(at::kDouble);
  return teaching;
}

// Sets teaching.distilled, and adds to the rows' numbers and to the sums.
void teach(const Call& call, const Tensor& label, Tensor& exps, Teaching& teaching,
           RowNumbers& rows) {
  const TaughtRows& taught = teaching.taught;
  const job::DistillationSpec& spec = call.weights.distillation;
  exps.view({-1}).index_fill_(0, teaching.flat, 0.0);
  const Tensor tail =
      exps.sum(1, false, at::kDouble).index_select(0, taught.rows).clamp_min_(kLeastTail);
  DistilledRows& token = teaching.distilled;
  token = distil(spec, taught, teaching.listed, tail, exps.size(1));
  if (spec.tail == job::Tail::sampled) {
    const Tensor own = label.index_select(0, taught.rows).unsqueeze(1);
    const Tensor off = taught.sampled.logical_and(taught.ids.eq(own).any(1).logical_not());
    const Tensor drawn = off.to(at::kDouble);
    token.loss =
        token.loss + at::where(off, tail.log() - rows.label_logit.index_select(0, taught.rows),
                               at::zeros_like(tail));
    token.off_list = token.off_list + drawn;
    rows.at_label.index_add_(0, taught.rows, drawn.neg());
  }
  rows.everywhere =
      rows.everywhere.index_add(0, taught.rows, token.off_list / tail * call.weights.kd);
}

void give_listed(const Call& call, const Teaching& teaching, const RowNumbers& rows,
                 Tensor& gradients) {
  const TaughtRows& taught = teaching.taught;
  const auto of = [&](const Tensor& x) { return x.index_select(0, taught.rows).unsqueeze(1); };
  const Tensor each = (of(rows.softmax_weight) * teaching.listed.exp() +
                       teaching.distilled.on_list * call.weights.kd) *
                      (of(rows.live) * call.factor);
  // What was filled up writes the first one's again.
  const Tensor values = at::where(taught.is_there, each, each.slice(1, 0, 1)).to(at::kFloat);
  gradients.view({-1}).index_copy_(0, teaching.flat, values.reshape({-1}));
}

// What teachers in the process make of a chunk.
struct DenseRows {
  Tensor taught;  // [n] fp64, 1 where they teach, else 0
  Tensor loss;  // [n] fp64, 0 where they do not
  Tensor gradient;  // [n, V] fp32, by the logits; likewise
};

// train/loss/dense_distillation.h; forward and reverse KL in floats, as there. logits [n, V] of the
// tokens from `begin` on.
DenseRows distil_densely(const Call& call, const TaughtRows& listed, const Tensor& logits,
                         int64_t begin) {
  const job::DistillationSpec& spec = call.weights.distillation;
  const bool in_floats = spec.divergence == job::Divergence::forward_kl ||
                         spec.divergence == job::Divergence::reverse_kl;
  const auto type = in_floats ? at::kFloat : at::kDouble;
  const int64_t n = logits.size(0);
  const Tensor teacher = teacher_logprobs(call.dense, begin, begin + n);
  DenseRows rows{at::ones({n}, logits.options().dtype(at::kDouble)), {}, at::empty_like(logits)};
  if (listed.size() > 0) rows.taught.index_fill_(0, listed.rows, 0.0);
  rows.loss = at::empty_like(rows.taught);
  const int64_t block = std::max<int64_t>(1, kDenseBlock / logits.size(1));
  for (int64_t at = 0; at < n; at += block) {
    const int64_t end = std::min(at + block, n);
    const DivergedRows diverged =
        diverge(spec, {tempered(teacher.slice(0, at, end).to(type), spec.temperature),
                       tempered(logits.slice(0, at, end).to(type), spec.temperature)});
    rows.loss.slice(0, at, end).copy_(diverged.loss);
    rows.gradient.slice(0, at, end).copy_(diverged.gradient);
  }
  rows.loss.mul_(rows.taught * (spec.temperature * spec.temperature));
  rows.gradient.mul_((rows.taught * spec.temperature).to(at::kFloat).unsqueeze(1));
  return rows;
}

struct Teachings {
  std::optional<Teaching> lists;
  std::optional<DenseRows> dense;
};

// What labels ask: train/loss/label_loss.h. All [n] fp64.
struct LabelRows {
  Tensor loss, softmax, at_label;  // weighted, the format loss with them
  Tensor uniform;  // likewise; undefined without smoothing
};

// structural [n]: 1 where the format loss counts the label, else 0; undefined: never. mean_ce [n]:
// the mean of -log q over the vocabulary; looked at only with smoothing.
LabelRows label_rows(const Call& call, const Teachings& teachings, const Tensor& structural,
                     int64_t begin, const Tensor& ce, const Tensor& mean_ce, int64_t vocab) {
  const int64_t n = ce.size(0);
  Tensor weight = at::full({n}, teachings.dense ? call.weights.ce : 1.0, ce.options());
  if (teachings.lists) weight.index_fill_(0, teachings.lists->taught.rows, call.weights.ce);
  if (call.own.defined()) weight.masked_fill_(call.own.slice(0, begin, begin + n), 0.0);
  const LabelLoss& spec = call.weights.label;
  LabelRows rows{weight * ce, weight, weight, {}};
  if (spec.smoothing > 0) {
    const double kept = 1 - spec.smoothing;
    rows.loss = weight * (ce * kept + mean_ce * spec.smoothing);
    rows.at_label = weight * kept;
    rows.uniform = weight * (spec.smoothing / static_cast<double>(vocab));
  } else if (spec.focal_gamma > 0) {
    const Tensor rest = ce.neg().expm1().neg();  // 1 - p
    const Tensor share = rest.pow(spec.focal_gamma);
    const Tensor slope = share + ce.neg().exp() * ce * spec.focal_gamma * share / rest;
    rows.loss = weight * share * ce;
    rows.softmax = weight * slope.masked_fill(rest.le(0), 0.0);
    rows.at_label = rows.softmax;
  }
  if (structural.defined()) {
    const Tensor format = structural * call.format;
    rows.loss = rows.loss + format * ce;
    rows.softmax = rows.softmax + format;
    rows.at_label = rows.at_label + format;
  }
  return rows;
}

void add_sums(Call& call, const RowNumbers& rows, const LabelRows& labels, const Tensor& ce,
              const Tensor& lse, const Tensor& structural, const Teachings& teachings) {
  const Tensor none = at::zeros({}, ce.options());
  Tensor kd = none;
  Tensor taught_tokens = none;
  if (const auto& lists = teachings.lists) {
    const Tensor live = rows.live.index_select(0, lists->taught.rows);
    kd = kd + (lists->distilled.loss * live).sum();
    taught_tokens = taught_tokens + live.sum();
  }
  if (const auto& dense = teachings.dense) {
    kd = kd + (dense->loss * rows.live).sum();
    taught_tokens = taught_tokens + (dense->taught * rows.live).sum();
  }
  const Tensor z = (lse.square() * rows.live).sum();
  const Tensor format = structural.defined() ? (ce * structural * rows.live).sum() : none;
  const Tensor format_tokens = structural.defined() ? (structural * rows.live).sum() : none;
  const Tensor weighted =
      (labels.loss * rows.live).sum() + kd * call.weights.kd + z * call.weights.z;
  call.sums.add_(at::stack({(ce * rows.live).sum(), kd, z, format, weighted, rows.live.sum(),
                            taught_tokens, format_tokens}));
}

// logits [n, V] of the flat tokens from `begin` on become their gradients.
void chunk_losses(Call& call, Tensor& logits, int64_t begin) {
  const int64_t n = logits.size(0);
  const double cap = call.weights.softcap;
  const Tensor given = call.labels.slice(0, begin, begin + n);
  const Tensor label = given.clamp_min(0);
  Tensor slope;
  if (cap > 0) {
    logits.div_(cap).tanh_();
    slope = 1.0 - logits.square();
    logits.mul_(cap);
  }
  const Tensor max = logits.amax(1, /*keepdim=*/true);
  RowNumbers rows;
  rows.live = given.ge(0).to(at::kDouble);
  rows.label_logit = (logits.gather(1, label.unsqueeze(1)) - max).squeeze(1).to(at::kDouble);
  rows.at_label = at::zeros_like(rows.live);
  Teachings teachings;
  const TaughtRows listed = call.listed.between(begin, begin + n);
  if (listed.size() > 0) teachings.lists = read_listed(listed, logits, max);
  if (!call.dense.empty()) teachings.dense = distil_densely(call, listed, logits, begin);
  Tensor mean;  // of z - max
  if (call.weights.label.smoothing > 0) {
    mean = logits.mean(1, /*keepdim=*/false, at::kDouble) - max.squeeze(1);
  }
  logits.sub_(max).exp_();
  const Tensor sum = logits.sum(1, /*keepdim=*/false, at::kDouble);
  const Tensor lse = max.squeeze(1).to(at::kDouble) + sum.log();
  const Tensor ce = sum.log() - rows.label_logit;
  Tensor structural;
  if (call.structural.defined()) {
    structural = call.structural.index_select(0, label).to(at::kDouble);
    if (call.own.defined()) structural.masked_fill_(call.own.slice(0, begin, begin + n), 0.0);
  }
  const Tensor mean_ce = mean.defined() ? sum.log() - mean : mean;
  const LabelRows labels =
      label_rows(call, teachings, structural, begin, ce, mean_ce, logits.size(1));
  rows.softmax_weight = (labels.softmax + lse * (2.0 * call.weights.z)) / sum;
  rows.everywhere = rows.softmax_weight;
  if (teachings.lists) teach(call, label, logits, *teachings.lists, rows);
  const Tensor live = rows.live * call.factor;
  logits.mul_((rows.everywhere * live).to(at::kFloat).unsqueeze(1));
  if (teachings.lists) give_listed(call, *teachings.lists, rows, logits);
  const Tensor of_label = (labels.at_label - rows.at_label * call.weights.kd) * live;
  logits.scatter_add_(1, label.unsqueeze(1), of_label.neg().to(at::kFloat).unsqueeze(1));
  if (labels.uniform.defined()) {
    logits.sub_((labels.uniform * live).to(at::kFloat).unsqueeze(1));
  }
  if (const auto& dense = teachings.dense) {
    logits.addcmul_(dense->gradient, (live * call.weights.kd).to(at::kFloat).unsqueeze(1));
  }
  if (slope.defined()) logits.mul_(slope);
  add_sums(call, rows, labels, ce, lse, structural, teachings);
}

LossSums read_sums(const Tensor& sums) {
  const Tensor here = sums.cpu();
  const auto* n = here.data_ptr<double>();
  const auto whole = [&](int i) { return static_cast<int64_t>(n[i]); };
  return {n[0], n[1], n[2], n[3], n[4], whole(5), whole(6), whole(7)};
}

struct HeadLoss : torch::autograd::Function<HeadLoss> {
  static Variable forward(AutogradContext* ctx, const Variable& hidden, const Variable& latent,
                          const LinearWeight* head, Call* call, LossSums* sums, bool learns) {
    Tensor grad_hidden, grad_latent;  // undefined: not wanted, and the head is not trained
    if (learns) grad_hidden = at::empty_like(hidden);
    if (learns && latent.requires_grad()) grad_latent = at::zeros_like(latent);
    for (int64_t begin = 0; begin < hidden.size(0); begin += call->chunk()) {
      const int64_t end = std::min(begin + call->chunk(), hidden.size(0));
      Tensor logits = chunk_logits(hidden, *head, begin, end);
      chunk_losses(*call, logits, begin);
      if (!learns) continue;
      const Tensor d_logits = logits.to(head->compute());
      grad_hidden.slice(0, begin, end).copy_(at::mm(d_logits, head->dequantized()));
      if (!grad_latent.defined()) continue;
      const Tensor x = hidden.slice(0, begin, end).to(head->compute());
      grad_latent.add_(at::mm(d_logits.t(), x));
    }
    ctx->save_for_backward({grad_hidden, grad_latent});
    *sums = read_sums(call->sums);
    return (call->sums[4] * call->factor).to(at::kFloat);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor of_latent = saved[1].defined() ? saved[1] * grads[0] : Tensor();
    return {saved[0] * grads[0], of_latent, Variable(), Variable(), Variable(), Variable()};
  }
};

}  // namespace

Tensor head_loss(const Tensor& hidden, const LinearWeight& head, const Tensor& labels,
                 const AllTargets& teachers, const LossWeights& weights, const LabelCounts& counts,
                 LossSums& sums) {
  const double labelled = static_cast<double>(std::max<int64_t>(counts.labelled, 1));
  const double format = counts.structural > 0
                            ? weights.format * labelled / static_cast<double>(counts.structural)
                            : 0.0;
  Call call(labels, teachers, weights, format, weights.scale / labelled, hidden.device());
  return HeadLoss::apply(hidden, head.latent(), &head, &call, &sums, at::GradMode::is_enabled());
}

LossSums evaluate_head(const Tensor& hidden, const LinearWeight& head, const Tensor& labels,
                       const LossWeights& weights) {
  const TeacherTargets none;
  const DenseTargets nobody;
  Call call(labels, {none, nobody}, weights, weights.format, 1.0, hidden.device());
  for (int64_t begin = 0; begin < hidden.size(0); begin += call.chunk()) {
    Tensor logits =
        chunk_logits(hidden, head, begin, std::min(begin + call.chunk(), hidden.size(0)));
    chunk_losses(call, logits, begin);
  }
  return read_sums(call.sums);
}

}  // namespace tristill::train::device
