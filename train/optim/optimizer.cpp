#include "train/optim/optimizer.h"

#include <algorithm>
#include <cmath>

namespace tristill::train {
namespace {

using torch::Tensor;

constexpr double kBeta1 = 0.9;
constexpr double kBeta2 = 0.95;
constexpr double kEps = 1e-10;
constexpr double kMomentumStart = 0.85;
constexpr double kMomentumEnd = 0.95;
constexpr double kMomentumSteps = 300;

}  // namespace

Tensor orthogonalize(const Tensor& matrix, uint32_t steps, at::ScalarType compute) {
  const bool tall = matrix.size(0) > matrix.size(1);
  Tensor x = tall ? matrix.t() : matrix;
  x = (x / (x.norm() + 1e-12)).to(compute);
  for (uint32_t i = 0; i < steps; ++i) {
    const Tensor a = at::mm(x, x.t());
    const Tensor b = -4.7750 * a + 2.0315 * at::mm(a, a);
    x = 3.4445 * x + at::mm(b, x);
  }
  x = x.to(at::kFloat);
  return tall ? x.t() : x;
}

Optimizer::Optimizer(const job::OptimizerSpec& spec, const std::vector<NamedParameter>& parameters,
                     at::ScalarType compute)
    : spec_(spec), compute_(compute) {
  for (const NamedParameter& parameter : parameters) {
    Slot slot{parameter, spec.kind == job::OptimizerKind::muon && parameter.is_matrix, {}, {}};
    slot.first = at::zeros_like(parameter.tensor);
    if (!slot.muon) slot.second = at::zeros_like(parameter.tensor);
    slots_.push_back(std::move(slot));
  }
}

double Optimizer::gradient_norm() {
  double sum = 0;
  double zeros = 0;
  double elements = 0;
  for (const Slot& slot : slots_) {
    const Tensor grad = slot.parameter.tensor.grad();
    if (!grad.defined()) continue;
    const double norm = grad.norm().item<double>();
    sum += norm * norm;
    if (!slot.parameter.is_matrix) continue;
    zeros += static_cast<double>(grad.numel() - grad.count_nonzero().item<int64_t>());
    elements += static_cast<double>(grad.numel());
  }
  zero_gradients_ = elements > 0 ? zeros / elements : 0;
  return std::sqrt(sum);
}

double Optimizer::momentum() const {
  const double share = std::min(1.0, static_cast<double>(steps_) / kMomentumSteps);
  return kMomentumStart + (kMomentumEnd - kMomentumStart) * share;
}

void Optimizer::step_muon(Slot& slot, double lr) const {
  const Tensor grad = slot.parameter.tensor.grad();
  slot.first.mul_(momentum()).add_(grad);
  const Tensor update =
      orthogonalize(grad + momentum() * slot.first, spec_.newton_schulz_steps, compute_);
  const double ratio = static_cast<double>(grad.size(0)) / static_cast<double>(grad.size(1));
  Tensor weight = slot.parameter.tensor;
  if (spec_.weight_decay > 0) weight.mul_(1.0 - lr * spec_.weight_decay);
  weight.add_(update, -lr * std::sqrt(std::max(1.0, ratio)));
}

void Optimizer::step_adamw(Slot& slot, double lr) const {
  const Tensor grad = slot.parameter.tensor.grad();
  slot.first.mul_(kBeta1).add_(grad, 1.0 - kBeta1);
  slot.second.mul_(kBeta2).addcmul_(grad, grad, 1.0 - kBeta2);
  const double correction1 = 1.0 - std::pow(kBeta1, static_cast<double>(steps_));
  const double correction2 = 1.0 - std::pow(kBeta2, static_cast<double>(steps_));
  const Tensor denominator = (slot.second / correction2).sqrt_().add_(kEps);
  Tensor weight = slot.parameter.tensor;
  if (spec_.weight_decay > 0 && weight.dim() == 2) weight.mul_(1.0 - lr * spec_.weight_decay);
  weight.addcdiv_(slot.first, denominator, -lr / correction1);
}

double Optimizer::step(double multiplier) {
  const torch::NoGradGuard no_grad;
  const double norm = gradient_norm();
  if (std::isfinite(norm)) {
    ++steps_;
    const double clip =
        spec_.grad_clip > 0 && norm > spec_.grad_clip ? spec_.grad_clip / norm : 1.0;
    for (Slot& slot : slots_) {
      if (!slot.parameter.tensor.grad().defined()) continue;
      if (clip < 1.0) slot.parameter.tensor.mutable_grad().mul_(clip);
      if (slot.muon) step_muon(slot, spec_.lr * multiplier);
      else step_adamw(slot, spec_.adamw_lr * multiplier);
    }
  }
  for (Slot& slot : slots_) slot.parameter.tensor.mutable_grad().reset();
  return norm;
}

std::map<std::string, Tensor> Optimizer::state() const {
  std::map<std::string, Tensor> state;
  for (const Slot& slot : slots_) {
    state["optimizer.first." + slot.parameter.name] = slot.first;
    if (!slot.muon) state["optimizer.second." + slot.parameter.name] = slot.second;
  }
  state["optimizer.steps"] = at::full({1}, steps_, at::kLong);
  return state;
}

Result<void> Optimizer::load_state(const std::map<std::string, Tensor>& state) {
  const torch::NoGradGuard no_grad;
  const auto copy = [&](const std::string& name, Tensor& target) -> Result<void> {
    const auto found = state.find(name);
    if (found == state.end() || found->second.sizes() != target.sizes()) {
      return Error{ErrorCode::corrupt, "checkpoint lacks tensor " + name + " of the right shape",
                   "checkpoint"};
    }
    target.copy_(found->second);
    return {};
  };
  for (Slot& slot : slots_) {
    if (auto done = copy("optimizer.first." + slot.parameter.name, slot.first); !done) return done;
    if (slot.muon) continue;
    if (auto done = copy("optimizer.second." + slot.parameter.name, slot.second); !done)
      return done;
  }
  Tensor steps = at::zeros({1}, at::kLong);
  if (auto done = copy("optimizer.steps", steps); !done) return done;
  steps_ = steps.item<int64_t>();
  return {};
}

}  // namespace tristill::train
