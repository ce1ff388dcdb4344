#include "train/run/health_guard.h"

#include <algorithm>
#include <cmath>

namespace tristill::train {
namespace {

constexpr int kMaxBadSteps = 5;
constexpr double kEmaShare = 0.02;  // of a new loss

job::HealthAlarm not_finite_alarm() {
  return {"not_finite", "several steps in a row were not finite; lower optimizer.lr",
          "optimizer.lr"};
}

}  // namespace

Result<void> HealthGuard::count(double loss, double norm, double lr, double decay) {
  lr_sum_ += lr;
  decay_sum_ += decay;
  ++counted_;
  last_loss_ = loss;
  last_lr_ = lr;
  if (std::isfinite(norm) && std::isfinite(loss)) {
    loss_ema_ = steps_ == 0 ? loss : loss_ema_ + kEmaShare * (loss - loss_ema_);
    ++steps_;
    bad_steps_ = 0;
    return {};
  }
  ++skipped_;
  ++bad_steps_;
  if (bad_steps_ < kMaxBadSteps || spec_.health.action == job::HealthAction::stop) return {};
  const job::HealthAlarm alarm = not_finite_alarm();
  return Error{ErrorCode::invalid_argument, alarm.message, alarm.param};
}

const HealthReport& HealthGuard::look(const Student& student, int64_t step, double zero_gradients,
                                      double loss) {
  const auto n = static_cast<double>(std::max<int64_t>(counted_, 1));
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
  standing_ = std::move(standing);
  return report_;
}

std::optional<job::HealthAlarm> HealthGuard::verdict() const {
  if (spec_.health.action != job::HealthAction::stop) return std::nullopt;
  if (bad_steps_ >= kMaxBadSteps) return not_finite_alarm();
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
          .numbers = report_.numbers,
          .alarms = report_.alarms,
          .matrices = report_.matrices};
}

torch::Tensor HealthGuard::state() const {
  return torch::tensor({loss_ema_, static_cast<double>(steps_), static_cast<double>(skipped_)},
                       at::kDouble);
}

void HealthGuard::load_state(const std::map<std::string, torch::Tensor>& tensors) {
  const auto found = tensors.find(kStateName);
  if (found == tensors.end() || found->second.numel() != 3) return;
  loss_ema_ = found->second[0].item<double>();
  steps_ = found->second[1].item<int64_t>();
  skipped_ = found->second[2].item<int64_t>();
}

}  // namespace tristill::train
