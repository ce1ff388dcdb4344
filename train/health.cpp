#include "train/health.h"

#include <algorithm>
#include <cmath>

namespace tristill::train {
namespace {

constexpr double kMinBranchGain = 1e-4;
constexpr double kMaxZeroFraction = 0.8;
constexpr double kMaxZeroGradients = 0.5;
constexpr int64_t kDecaySteps = 100;

std::vector<const LinearWeight*> ternary_matrices(const Student& student) {
  std::vector<const LinearWeight*> found;
  for (const Block& block : student.blocks()) {
    for (const auto* weight :
         {&block.q, &block.k, &block.v, &block.o, &block.gate, &block.up, &block.down}) {
      if (weight->mode() == LinearMode::ternary) found.push_back(weight);
    }
  }
  return found;
}

struct Totals {
  double elements = 0, zeros = 0, flips = 0, gamma = 0;
  double min_gamma = 0;
};

void judge_gains(const Student& student, HealthReport& report) {
  const auto& gains = student.branch_gains();
  if (gains.empty()) return;
  const auto smallest = std::min_element(gains.begin(), gains.end());
  report.numbers["branch_gain"] = *smallest;
  if (*smallest >= kMinBranchGain) return;
  const auto index = smallest - gains.begin();
  report.alarms.emplace_back("block " + std::to_string(index / 2) +
                             (index % 2 == 0 ? " attention" : " mlp") +
                             " adds almost nothing to the residual; turn sub_norm on or lower lr");
}

}  // namespace

HealthReport HealthMonitor::look(const Student& student, const HealthInputs& inputs) {
  HealthReport report;
  if (!std::isfinite(inputs.loss)) report.alarms.emplace_back("loss is not finite; lower lr");
  judge_gains(student, report);
  report.numbers["zero_gradients"] = inputs.zero_gradients;
  if (inputs.zero_gradients > kMaxZeroGradients) {
    report.alarms.emplace_back(
        "more than half of the gradients are exactly zero: outputs underflow");
  }
  const auto matrices = ternary_matrices(student);
  if (matrices.empty()) return report;

  const bool again = previous_step_ >= 0 && previous_step_ < inputs.step;
  const double steps = again ? static_cast<double>(inputs.step - previous_step_) : 1.0;
  Totals totals;
  double worst_slope = 0;
  std::vector<double> gammas;
  for (size_t i = 0; i < matrices.size(); ++i) {
    const torch::Tensor& values = matrices[i]->values();
    const double gamma = matrices[i]->scale().item<double>();
    totals.elements += static_cast<double>(values.numel());
    totals.zeros += static_cast<double>(values.numel() - values.count_nonzero().item<int64_t>());
    totals.gamma += gamma;
    if (again) {
      totals.flips += static_cast<double>(values.ne(previous_[i]).sum().item<int64_t>());
      const double slope =
          std::log(std::max(gamma, 1e-30) / std::max(previous_gamma_[i], 1e-30)) / steps;
      if (inputs.decay_per_step > 0) {
        const double ratio = slope / -inputs.decay_per_step;
        if (std::abs(ratio - 1.0) < std::abs(worst_slope - 1.0)) worst_slope = ratio;
      }
    }
    gammas.push_back(gamma);
  }
  report.numbers["zero_fraction"] = totals.zeros / totals.elements;
  report.numbers["gamma"] = totals.gamma / static_cast<double>(matrices.size());
  if (again) report.numbers["flip_rate"] = totals.flips / totals.elements / steps;
  if (again && inputs.decay_per_step > 0) report.numbers["decay_slope"] = worst_slope;
  if (totals.zeros > kMaxZeroFraction * totals.elements) {
    report.alarms.emplace_back("most ternary weights are zero; lower lr or weight_decay");
  }
  const bool decays = again && inputs.decay_per_step > 0 && std::abs(worst_slope - 1.0) < 0.1;
  if (!decays) decaying_since_ = -1;
  else if (decaying_since_ < 0) decaying_since_ = previous_step_;
  if (decays && inputs.step - decaying_since_ >= kDecaySteps) {
    report.alarms.emplace_back(
        "a matrix shrinks by weight decay alone: it gets no gradient; "
        "set weight_decay to 0 and check precision");
  }
  previous_.clear();
  for (const auto* weight : matrices) previous_.push_back(weight->values().clone());
  previous_gamma_ = std::move(gammas);
  previous_step_ = inputs.step;
  return report;
}

}  // namespace tristill::train
