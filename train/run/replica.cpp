#include "train/run/replica.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"
#include "train/loss/format_loss.h"
#include "train/run/job_student.h"
#include "train/run/owners.h"
#include "train/run/precision.h"
#include "train/teach/on_policy.h"

namespace tristill::train {
namespace {

PackingOptions packing_of(const job::TrainSpec& spec) {
  return {.rows = std::max<int64_t>(1, spec.batch_tokens / spec.sequence_length),
          .tokens = spec.sequence_length,
          .fim_rate = spec.data.fim_rate,
          .spm_rate = spec.data.spm_rate,
          .seed = spec.seed};
}

LossWeights loss_weights(const job::TrainSpec& spec, const std::vector<uint8_t>& structural) {
  return {.ce = spec.loss.ce_weight,
          .kd = spec.loss.kd_weight,
          .z = spec.loss.z_loss,
          .label = {spec.loss.label_smoothing, spec.loss.focal_gamma},
          .softcap = spec.model.logit_softcap,
          .distillation = spec.loss.distillation,
          .format = spec.loss.format_weight,
          .structural = structural,
          .relation = spec.teaching.relation_weight,
          .relation_heads = spec.teaching.relation_heads};
}

}  // namespace

Replica::Replica(const job::TrainSpec& spec, TrainingData& data, RankGroup& ranks,
                 const std::atomic<bool>& stop, torch::Device device)
    : spec_(spec),
      ranks_(ranks),
      stop_(stop),
      packing_(packing_of(spec)),
      student_(job_student(spec, device)),
      owners_(owners_of(student_, spec.optimizer.kind, ranks.size())),
      optimizer_(spec.optimizer, student_.parameters(), compute_type(spec.precision),
                 {owners_, &ranks}, spec.seed),
      batches_(BatchStream(std::move(data.sources), data.tokenizer, packing_)),
      loss_scale_(spec.precision == job::Precision::fp16),
      structural_(
          structural_tokens(*data.tokenizer, spec.model.vocab_size, spec.loss.format_characters)),
      eos_(data.tokenizer->special().eos),
      teachers_(std::move(data.teachers)),
      exchange_(student_, owners_, ranks) {
  student_.record_states(teachers_.student_layer());
}

void Replica::tell(Order order, double a, double b, double c) {
  CHECK(ranks_.leads());
  torch::Tensor told = torch::tensor({static_cast<double>(order), a, b, c}, at::kDouble);
  ranks_.broadcast(told, RankGroup::kLongWait);
}

void Replica::take_share() {
  exchange_.scatter();
  optimizer_.scatter_state();
  torch::Tensor place = torch::tensor(batches_.cursor().to_numbers(), at::kLong);
  ranks_.broadcast(place);
  const auto* numbers = place.data_ptr<int64_t>();
  batches_.seek(*Cursor::from_numbers({numbers, numbers + place.numel()}, batches_.sources()));
  torch::Tensor scale = torch::tensor(loss_scale_.to_numbers(), at::kDouble);
  ranks_.broadcast(scale);
  const auto* state = scale.data_ptr<double>();
  CHECK(loss_scale_.from_numbers({state, state + scale.numel()}).has_value());
}

Batch Replica::next_batch() {
  Batch batch = batches_.next();
  if (spec_.teaching.on_policy_share > 0) {
    const auto stream = static_cast<uint64_t>(batches_.cursor().draws);
    write_own_words(batch, student_, spec_.teaching,
                    {.seed = spec_.seed, .stream = stream, .eos = eos_});
  }
  return batch;
}

double Replica::loss_of(const Batch& batch, const LossWeights& weights) {
  exchange_.spread();
  torch::Tensor losses = losses_of(student_, batch, weights, share_of_batch(), teachers());
  ranks_.add_up(losses);
  const auto* numbers = losses.data_ptr<double>();
  const int64_t labels = count_labels(batch.labels, weights).labelled;
  return std::accumulate(numbers, numbers + losses.numel(), 0.0) /
         static_cast<double>(std::max<int64_t>(labels, 1));
}

// After reduce: this rank's parameters have gradients. What is derived of the weights is old
// afterwards, as it is after a step of the optimiser.
void Replica::probe_gradients(const Batch& batch, const LossWeights& weights, double guidance) {
  std::vector<GuidedProbe::Matrix> owned;
  for (size_t i = 0; i < student_.parameters().size(); ++i) {
    const NamedParameter& parameter = student_.parameters()[i];
    if (parameter.is_matrix && parameter.tensor.grad().defined()) {
      owned.push_back({parameter.tensor, i});
    }
  }
  const double norm = optimizer_.look_before_change();
  if (!std::isfinite(norm) || norm == 0) return;  // the optimiser leaves such a step out
  const auto steps = static_cast<uint64_t>(optimizer_.steps());
  GuidedProbe probe(owned, norm, guidance, (spec_.seed << 32U) ^ steps);
  probe.move_to(1);
  const double up = loss_of(batch, weights);
  probe.move_to(-1);
  const double down = loss_of(batch, weights);
  probe.move_to(0);
  probe.give_gradients(up, down);
}

StepReport Replica::take_step(const StepShares& shares, bool record_gains) {
  LossWeights weights = loss_weights(spec_, structural_);
  weights.scale = loss_scale_.scale();
  const Batch batch = next_batch();
  Gradients branch = gradients_of(student_, batch, weights, share_of_batch(),
                                  record_gains && ranks_.leads(), teachers());
  int64_t votes = stop_ ? 1 : 0;
  StepReport report;
  report.sums = exchange_.reduce(std::move(branch), votes);
  report.stop_wanted = votes > 0;
  if (spec_.optimizer.fogzo_beta < 1) probe_gradients(batch, weights, shares.guidance);
  report.norm = optimizer_.step(shares.lr, shares.decay);
  report.overflowed = loss_scale_.count(report.sums.weighted, report.norm);
  return report;
}

void Replica::take_refresh(const QuantizationPoint& point) {
  if (spec_.quantized) {
    student_.set_activation_bits(point.activation_bits, point.down_activation_bits);
    student_.set_strength(point.strength);
  }
  exchange_.spread();
}

void Replica::share() {
  tell(Order::share);
  take_share();
}

StepReport Replica::step(const StepShares& shares, bool record_gains) {
  tell(Order::step, shares.lr, shares.decay, shares.guidance);
  return take_step(shares, record_gains);
}

void Replica::refresh(const QuantizationPoint& point) {
  tell(Order::refresh, point.activation_bits, point.down_activation_bits, point.strength);
  take_refresh(point);
}

void Replica::gather_weights() {
  tell(Order::gather_weights);
  exchange_.gather();
}

std::map<std::string, torch::Tensor> Replica::gather_state() {
  tell(Order::gather_state);
  return optimizer_.state();
}

void Replica::finish(int exit_code) { tell(Order::finish, exit_code); }

int Replica::follow() {
  for (;;) {
    torch::Tensor told = at::empty({1 + kNumbers}, at::kDouble);
    ranks_.broadcast(told, RankGroup::kLongWait);
    const double* numbers = told.data_ptr<double>();
    const double a = numbers[1];
    const double b = numbers[2];
    switch (static_cast<Order>(numbers[0])) {
      case Order::share: take_share(); break;
      case Order::step: take_step({a, b, numbers[3]}, false); break;
      case Order::refresh:
        take_refresh({static_cast<uint32_t>(a), static_cast<uint32_t>(b), numbers[3]});
        break;
      case Order::gather_weights: exchange_.gather(); break;
      case Order::gather_state: optimizer_.state(); break;
      case Order::finish: return static_cast<int>(a);
    }
  }
}

}  // namespace tristill::train
