#include "train/health.h"

#include <algorithm>
#include <cmath>

#include "train/optim/optimizer.h"

namespace tristill::train {
namespace {

constexpr double kMinBranchGain = 1e-4;
constexpr double kMaxZeroFraction = 0.8;
constexpr double kMaxZeroGradients = 0.5;
constexpr int64_t kDecaySteps = 100;
constexpr double kDecayTolerance = 0.1;
constexpr double kDeadFlips = 0.01;         // of those expected
constexpr double kCountedFlips = 500;       // expected ones; fewer say nothing
constexpr double kFlipsPerAngle = 0.588;    // 2 * density at 0.399 sigma * E|N(0, 1)|
constexpr double kMaxFlipsBetween = 0.5;    // of all values; two thirds differ by chance
constexpr int64_t kFlipSteps = 20;          // looks further apart do not tell too many

struct NamedMatrix {
  std::string name;
  const LinearWeight* weight;
};

std::vector<NamedMatrix> ternary_matrices(const Student& student) {
  std::vector<NamedMatrix> found;
  for (size_t layer = 0; layer < student.blocks().size(); ++layer) {
    const Block& block = student.blocks()[layer];
    const std::string prefix = "blk." + std::to_string(layer) + ".";
    const NamedMatrix all[] = {{"attn_q", &block.q},      {"attn_k", &block.k},
                               {"attn_v", &block.v},      {"attn_output", &block.o},
                               {"ffn_gate", &block.gate}, {"ffn_up", &block.up},
                               {"ffn_down", &block.down}};
    for (const auto& [name, weight] : all) {
      if (weight->mode() == LinearMode::ternary)
        found.push_back({prefix + name + ".weight", weight});
    }
  }
  return found;
}

double share_of(const torch::Tensor& marked) {
  return static_cast<double>(marked.sum().item<int64_t>()) / static_cast<double>(marked.numel());
}

void judge_gains(const Student& student, const HealthInputs& inputs, HealthReport& report) {
  const auto& gains = student.branch_gains();
  if (gains.empty()) return;
  const auto smallest = std::min_element(gains.begin(), gains.end());
  report.numbers["branch_gain"] = *smallest;
  if (*smallest >= kMinBranchGain) return;
  const auto index = smallest - gains.begin();
  report.alarms.push_back({"silent_branch",
                           "block " + std::to_string(index / 2) +
                               (index % 2 == 0 ? " attention" : " mlp") +
                               " adds almost nothing to the residual; set model.sub_norm to true "
                               "or lower " +
                               job::matrix_lr_field(inputs.kind),
                           "model.sub_norm"});
}

// Share of the matrices' weights that their rule keeps from gradients.
double clipped_share(const Student& student, const std::vector<NamedMatrix>& matrices) {
  double clipped = 0;
  double elements = 0;
  for (const auto& [name, weight] : matrices) {
    clipped += weight->clipped_share() * static_cast<double>(weight->latent().numel());
  }
  for (const NamedParameter& parameter : student.parameters()) {
    if (parameter.is_matrix) elements += static_cast<double>(parameter.tensor.numel());
  }
  return elements > 0 ? clipped / elements : 0;
}

// clipped: the share of gradients that are zero by the rule of the weights.
void judge_numbers(const HealthInputs& inputs, double clipped, HealthReport& report) {
  const std::string rate = job::matrix_lr_field(inputs.kind);
  report.numbers["zero_gradients"] = inputs.zero_gradients;
  if (clipped > 0) report.numbers["clipped"] = clipped;
  if (!std::isfinite(inputs.loss)) {
    report.alarms.push_back({"not_finite", "the loss is not finite; lower " + rate, rate});
  }
  if (inputs.zero_gradients > clipped + kMaxZeroGradients * (1 - clipped)) {
    report.alarms.push_back({"zero_gradients",
                             "more than half of the gradients are exactly zero: outputs underflow; "
                             "set model.sub_norm to true, optimizer.weight_decay to 0",
                             "model.sub_norm"});
  }
}

void judge_shapes(const HealthInputs& inputs, HealthReport& report) {
  const std::string rate = job::matrix_lr_field(inputs.kind);
  std::vector<double> stds;
  double gamma = 0;
  for (const job::MatrixHealth& matrix : report.matrices) {
    stds.push_back(matrix.std);
    gamma += matrix.gamma;
  }
  const auto middle = stds.begin() + static_cast<int64_t>(stds.size() / 2);
  std::nth_element(stds.begin(), middle, stds.end());
  report.numbers["std_median"] = *middle;
  report.numbers["std_min"] = *std::min_element(stds.begin(), stds.end());
  report.numbers["gamma"] = gamma / static_cast<double>(report.matrices.size());
  if (report.numbers["zero_fraction"] <= kMaxZeroFraction) return;
  report.alarms.push_back(
      {"zero_fraction",
       "most ternary weights are zero; lower " + rate + ", or set optimizer.polarize to off",
       rate});
}

}  // namespace

// Sums over matrices, of one look.
struct HealthMonitor::Flips {
  double elements = 0, zeros = 0, changed = 0;
  double expected = 0;  // between the looks
  int64_t steps = 0;    // between the looks; 0 at the first
};

namespace {

void judge_flips(const HealthInputs& inputs, double rate, double expected, int64_t steps,
                 double counted, HealthReport& report) {
  const std::string rate_field = job::matrix_lr_field(inputs.kind);
  report.numbers["flip_rate"] = rate;
  if (inputs.lr <= 0) return;
  report.numbers["flip_rate_expected"] = expected;
  if (counted >= kCountedFlips && rate < kDeadFlips * expected) {
    report.alarms.push_back({"dead_flips",
                             "ternary weights hardly change any more, far less than this rate "
                             "should move them: they get no gradient; set optimizer.kind to muon, "
                             "model.sub_norm to true",
                             "optimizer.kind"});
  }
  if (steps <= kFlipSteps && rate * static_cast<double>(steps) > kMaxFlipsBetween) {
    report.alarms.push_back({"too_many_flips",
                             "half of the ternary weights change within " + std::to_string(steps) +
                                 " steps: nothing is kept; lower " + rate_field,
                             rate_field, false});
  }
}

}  // namespace

// -d ln mean|W| between the last two looks.
double HealthMonitor::shrinkage(const Matrix& memory) {
  return std::log(std::max(memory.size_before, 1e-30) / std::max(memory.size, 1e-30));
}

void HealthMonitor::look_at(const LinearWeight& weight, Matrix& memory, const HealthInputs& inputs,
                            job::MatrixHealth& found, Flips& flips) const {
  const torch::Tensor& values = weight.values();
  const auto n = static_cast<double>(values.numel());
  const auto steps = static_cast<double>(flips.steps);
  found.gamma = weight.scale().mean().item<double>();
  found.std = weight.latent().std().item<double>();
  found.zero_fraction = share_of(values.eq(0));
  found.plus_fraction = share_of(values.eq(1));
  memory.size_before = memory.size;
  memory.size = weight.latent().abs().mean().item<double>();
  flips.elements += n;
  flips.zeros += found.zero_fraction * n;
  bool decays = false;
  if (flips.steps > 0) {
    const double changed = share_of(values.ne(memory.values));
    found.flip_rate = changed / steps;
    flips.changed += changed * n;
    const double update = intended_update(inputs.kind, values.size(0), values.size(1), inputs.lr);
    const double angle = std::min(1.0, update / std::max(found.std, 1e-30));
    flips.expected += std::min(kMaxFlipsBetween, kFlipsPerAngle * angle * std::sqrt(steps)) * n;
    decays = inputs.decay_per_step > 0 &&
             std::abs(shrinkage(memory) / steps / inputs.decay_per_step - 1.0) < kDecayTolerance;
  }
  if (!decays) memory.decaying_since = -1;
  else if (memory.decaying_since < 0) memory.decaying_since = previous_step_;
}

// The nearest to 1 of all matrices is the number; the alarm is for one that stays there.
void HealthMonitor::judge_decay(const HealthInputs& inputs, HealthReport& report) const {
  double nearest = 0;
  const auto steps = static_cast<double>(inputs.step - previous_step_);
  size_t longest = 0;
  for (size_t i = 0; i < memory_.size(); ++i) {
    const double ratio = shrinkage(memory_[i]) / steps / inputs.decay_per_step;
    if (std::abs(ratio - 1.0) < std::abs(nearest - 1.0)) nearest = ratio;
    const auto since = [&](size_t at) {
      const int64_t begun = memory_[at].decaying_since;
      return begun < 0 ? inputs.step : begun;
    };
    if (since(i) < since(longest)) longest = i;
  }
  report.numbers["decay_slope"] = nearest;
  const int64_t begun = memory_[longest].decaying_since;
  if (begun < 0) return;
  // One look in the band can be chance.
  report.suspicious = report.suspicious || begun < previous_step_;
  if (inputs.step - begun < kDecaySteps) return;
  report.alarms.push_back({"decay_only",
                           report.matrices[longest].name +
                               " shrinks by weight decay alone: it gets no gradient; set "
                               "optimizer.weight_decay to 0, optimizer.kind to muon and "
                               "model.sub_norm to true",
                           "optimizer.weight_decay"});
}

HealthReport HealthMonitor::look(const Student& student, const HealthInputs& inputs) {
  HealthReport report;
  const auto matrices = ternary_matrices(student);
  judge_numbers(inputs, clipped_share(student, matrices), report);
  judge_gains(student, inputs, report);
  const bool again = previous_step_ >= 0 && previous_step_ < inputs.step;
  if (!matrices.empty()) {
    Flips flips;
    flips.steps = again ? inputs.step - previous_step_ : 0;
    memory_.resize(matrices.size());
    for (size_t i = 0; i < matrices.size(); ++i) {
      report.matrices.push_back({.name = matrices[i].name});
      look_at(*matrices[i].weight, memory_[i], inputs, report.matrices[i], flips);
    }
    report.numbers["zero_fraction"] = flips.zeros / flips.elements;
    judge_shapes(inputs, report);
    if (again) {
      const double per_step = 1.0 / flips.elements / static_cast<double>(flips.steps);
      judge_flips(inputs, flips.changed * per_step, flips.expected * per_step, flips.steps,
                  flips.expected, report);
      if (inputs.decay_per_step > 0) judge_decay(inputs, report);
    }
    for (size_t i = 0; i < matrices.size(); ++i) {
      memory_[i].values = matrices[i].weight->values().clone();
    }
  }
  previous_step_ = inputs.step;
  report.suspicious = report.suspicious || !report.alarms.empty();
  return report;
}

}  // namespace tristill::train
