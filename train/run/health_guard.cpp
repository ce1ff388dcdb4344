#include "train/run/health_guard.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "train/run/resident_memory.h"

namespace tristill::train {
namespace {

constexpr int kMaxBadSteps = 5;
constexpr double kEmaShare = 0.02;  // of a new loss

// Alarms about what changed since the look before.
constexpr const char* kNeedTwoLooks[] = {"dead_flips", "decay_only", "too_many_flips"};
constexpr const char* kCounts = "run.health";
constexpr const char* kStanding = "run.alarms";  // text: alarm, step; a line each

job::HealthAlarm not_finite_alarm(job::OptimizerKind kind) {
  const std::string rate = job::matrix_lr_field(kind);
  return {"not_finite", "several steps in a row were not finite; lower " + rate, rate};
}

}  // namespace

Result<void> HealthGuard::count(double loss, double norm, double lr, double decay) {
  lr_sum_ += lr;
  decay_sum_ += decay;
  ++counted_;
  last_loss_ = loss;
  last_lr_ = lr;
  last_norm_ = norm;
  if (std::isfinite(norm) && std::isfinite(loss)) {
    loss_ema_ = steps_ == 0 ? loss : loss_ema_ + kEmaShare * (loss - loss_ema_);
    ++steps_;
    bad_steps_ = 0;
    return {};
  }
  ++skipped_;
  ++bad_steps_;
  if (bad_steps_ < kMaxBadSteps || spec_.health.action == job::HealthAction::stop) return {};
  const job::HealthAlarm alarm = not_finite_alarm(spec_.optimizer.kind);
  return Error{ErrorCode::invalid_argument, alarm.message, alarm.param};
}

const HealthReport& HealthGuard::look(const Student& student, int64_t step, double zero_gradients,
                                      double loss) {
  const auto n = static_cast<double>(std::max<int64_t>(counted_, 1));
  const bool was_suspicious = report_.suspicious;
  report_ = monitor_.look(student, {.step = step,
                                    .decay_per_step = decay_sum_ / n,
                                    .zero_gradients = zero_gradients,
                                    .loss = loss,
                                    .kind = spec_.optimizer.kind,
                                    .lr = lr_sum_ / n});
  lr_sum_ = decay_sum_ = 0;
  counted_ = 0;
  step_ = step;
  std::map<std::string, int64_t> standing;
  for (const job::HealthAlarm& alarm : report_.alarms) {
    const auto before = standing_.find(alarm.code);
    standing[alarm.code] = before == standing_.end() ? step : before->second;
  }
  if (resumed_) {
    for (const char* code : kNeedTwoLooks) {
      if (const auto before = standing_.find(code); before != standing_.end()) {
        standing.insert(*before);
      }
    }
    report_.suspicious = report_.suspicious || was_suspicious;
  }
  resumed_ = false;
  standing_ = std::move(standing);
  return report_;
}

std::optional<job::HealthAlarm> HealthGuard::verdict() const {
  if (spec_.health.action != job::HealthAction::stop) return std::nullopt;
  if (bad_steps_ >= kMaxBadSteps) return not_finite_alarm(spec_.optimizer.kind);
  for (const job::HealthAlarm& alarm : report_.alarms) {
    const int64_t stood = step_ - standing_.at(alarm.code);
    if (alarm.stops && stood >= static_cast<int64_t>(spec_.health.patience_steps)) return alarm;
  }
  return std::nullopt;
}

job::HealthFile HealthGuard::file() const {
  return {.step = step_,
          .healthy = !report_.suspicious && bad_steps_ == 0,
          .last_loss = last_loss_,
          .loss_ema = loss_ema_,
          .skipped_steps = skipped_,
          .lr = last_lr_,
          .grad_norm = last_norm_,
          .tokens_per_second = tokens_per_second_,
          .resident_bytes = resident_bytes().value_or(0),
          .numbers = report_.numbers,
          .alarms = report_.alarms,
          .matrices = report_.matrices};
}

void HealthGuard::save_state(std::map<std::string, torch::Tensor>& tensors) const {
  tensors[kCounts] = torch::tensor(
      {loss_ema_, static_cast<double>(steps_), static_cast<double>(skipped_),
       static_cast<double>(bad_steps_), static_cast<double>(step_), report_.suspicious ? 1.0 : 0.0},
      at::kDouble);
  std::string standing;
  for (const auto& [code, step] : standing_) standing += code + ' ' + std::to_string(step) + '\n';
  tensors[kStanding] = at::empty({static_cast<int64_t>(standing.size())}, at::kByte);
  std::ranges::copy(standing, tensors[kStanding].data_ptr<uint8_t>());
}

void HealthGuard::load_state(const std::map<std::string, torch::Tensor>& tensors) {
  const auto counts = tensors.find(kCounts);
  if (counts == tensors.end() || counts->second.numel() != 6) return;
  const auto* numbers = counts->second.data_ptr<double>();
  loss_ema_ = numbers[0];
  steps_ = static_cast<int64_t>(numbers[1]);
  skipped_ = static_cast<int64_t>(numbers[2]);
  bad_steps_ = static_cast<int>(numbers[3]);
  step_ = static_cast<int64_t>(numbers[4]);
  report_.suspicious = numbers[5] != 0;
  resumed_ = true;
  const auto standing = tensors.find(kStanding);
  if (standing == tensors.end()) return;
  const auto* text = standing->second.data_ptr<uint8_t>();
  std::istringstream lines(std::string(text, text + standing->second.numel()));
  std::string code;
  for (int64_t step = 0; lines >> code >> step;) standing_[code] = step;
}

}  // namespace tristill::train
