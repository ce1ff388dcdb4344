#include "train/optim/optimizer.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/random.h"
#include "train/device/ops.h"
#include "train/optim/adamw.h"
#include "train/optim/distillix_muon.h"
#include "train/optim/double_well.h"
#include "train/optim/fogzo.h"
#include "train/optim/norm_pinning.h"
#include "train/optim/ordered_sum.h"
#include "train/optim/polarized.h"
#include "train/optim/sgld.h"
#include "train/optim/spin.h"

namespace tristill::train {
namespace {

using job::OptimizerKind;
using torch::Tensor;

// Of the draws of a force in one step of one parameter, the same on whichever rank has it.
uint64_t seed_of(uint64_t job_seed, int64_t step, size_t slot, uint64_t force) {
  constexpr uint64_t kForces = uint64_t{1} << 63U;  // streams of the job's seed that are only ours
  const uint64_t counter = (static_cast<uint64_t>(step) << 24U) ^ static_cast<uint64_t>(slot);
  const auto words = philox(job_seed, kForces | force, counter);
  return static_cast<uint64_t>(words[0]) << 32U | words[1];
}

double count_zeros(const std::vector<Tensor>& gradients) {
  double zeros = 0;
  if (!gradients.empty() && device::takes(gradients[0])) {
    for (const double count : device::counts_of_zeros(gradients)) zeros += count;
    return zeros;
  }
  for (const Tensor& gradient : gradients) {
    zeros += static_cast<double>(gradient.numel() - gradient.count_nonzero().item<int64_t>());
  }
  return zeros;
}

}  // namespace

OptimizerKind rule_for(OptimizerKind kind, const NamedParameter& parameter) {
  const bool table = parameter.tensor.dim() == 2;
  if (kind == OptimizerKind::distillix_muon && table) return kind;
  return parameter.is_matrix ? kind : OptimizerKind::adamw;
}

double intended_update(OptimizerKind kind, int64_t rows, int64_t cols, double lr) {
  if (kind == OptimizerKind::adamw || kind == OptimizerKind::spin) return lr;
  if (kind == OptimizerKind::sgld) return 0;
  const auto out = static_cast<double>(rows);
  const auto in = static_cast<double>(cols);
  const double scale = kind == OptimizerKind::muon ? std::sqrt(std::max(1.0, out / in)) : 1.0;
  return lr * scale / std::sqrt(std::max(out, in));
}

Optimizer::Optimizer(const job::OptimizerSpec& spec, const std::vector<NamedParameter>& parameters,
                     at::ScalarType compute, OptimizerShare share, uint64_t seed)
    : spec_(spec), compute_(compute), share_(std::move(share)), seed_(seed) {
  CHECK(share_.owners.empty() || share_.owners.size() == parameters.size());
  for (const NamedParameter& parameter : parameters) {
    Slot slot{parameter, rule_for(spec.kind, parameter), {}, {}, {}};
    if (owner_of(slots_.size()) == rank()) allocate(slot);
    slots_.push_back(std::move(slot));
  }
}

void Optimizer::allocate(Slot& slot) const {
  const torch::NoGradGuard no_grad;
  const Tensor& parameter = slot.parameter.tensor;
  if (slot.rule != OptimizerKind::sgld) slot.first = at::zeros_like(parameter);
  if (slot.rule == OptimizerKind::adamw) slot.second = at::zeros_like(parameter);
  if (spec_.norm_pinning && slot.parameter.is_matrix) {
    slot.rms = at::zeros({1}, parameter.options().requires_grad(false));
  }
}

// The sums of squares of all parameters are known to every rank before they are added, in the
// parameters' order: so the norm does not depend on who owns what.
Optimizer::GradientLook Optimizer::look_at_gradients() {
  const auto n = static_cast<int64_t>(slots_.size());
  Tensor numbers = at::zeros({n + 2}, at::kDouble);
  auto* squares = numbers.data_ptr<double>();
  double& zeros = squares[n];
  double& elements = squares[n + 1];
  std::vector<Tensor> gradients;
  std::vector<Tensor> of_matrices;
  std::vector<int64_t> places;
  for (int64_t i = 0; i < n; ++i) {
    const Slot& slot = slots_[static_cast<size_t>(i)];
    const Tensor grad = slot.parameter.tensor.grad();
    if (!grad.defined()) continue;
    gradients.push_back(grad);
    places.push_back(i);
    if (!slot.parameter.is_matrix) continue;
    of_matrices.push_back(grad);
    elements += static_cast<double>(grad.numel());
  }
  const std::vector<double> found = sums_of_squares(gradients);
  for (size_t i = 0; i < found.size(); ++i) squares[places[i]] = found[i];
  zeros = count_zeros(of_matrices);
  if (share_.ranks != nullptr) share_.ranks->add_up(numbers);
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += squares[i];
  return {std::sqrt(sum), elements > 0 ? zeros / elements : 0,
          std::vector<double>(squares, squares + n)};
}

double Optimizer::look_before_change() {
  const torch::NoGradGuard no_grad;
  const GradientLook seen = look_at_gradients();
  zero_gradients_ = seen.zeros;
  looked_ = true;
  Tensor numbers = at::zeros({static_cast<int64_t>(slots_.size())}, at::kDouble);
  auto* reaches = numbers.data_ptr<double>();
  for (size_t i = 0; i < slots_.size(); ++i) {
    const NamedParameter& parameter = slots_[i].parameter;
    if (!parameter.is_matrix || !parameter.tensor.grad().defined()) continue;
    reaches[i] = probe_reach(parameter.tensor);
  }
  if (share_.ranks != nullptr) share_.ranks->add_up(numbers);
  double sum = 0;
  for (size_t i = 0; i < slots_.size(); ++i) sum += reaches[i] * reaches[i] * seen.squares[i];
  return std::sqrt(sum);
}

void Optimizer::remember_norms() {
  for (Slot& slot : slots_) {
    if (slot.rms.defined()) slot.rms.copy_(root_mean_square(slot.parameter.tensor));
  }
}

double Optimizer::matrix_rate(double lr_share) const {
  return spec_.kind == OptimizerKind::distillix_muon ? spec_.lr : matrix_lr(spec_) * lr_share;
}

// Neither tables nor gains, as usual; distillix_muon as its authors have it.
bool Optimizer::decays(const Slot& slot) {
  return slot.parameter.is_matrix || slot.parameter.is_factor ||
         slot.rule == OptimizerKind::distillix_muon;
}

void Optimizer::move(Slot& slot, double lr_share, double decay_share, uint64_t seed) const {
  const Tensor grad = slot.parameter.tensor.grad();
  Tensor weight = slot.parameter.tensor;
  const double lr =
      slot.rule == OptimizerKind::adamw ? spec_.adamw_lr * lr_share : matrix_rate(lr_share);
  const double decay = spec_.weight_decay * decay_share;
  if (decay > 0 && decays(slot)) weight.mul_(1.0 - lr * decay);
  switch (slot.rule) {
    case OptimizerKind::muon: break;  // together, by move_by_muon
    case OptimizerKind::adamw: adamw_step(weight, slot.first, slot.second, grad, lr, steps_); break;
    case OptimizerKind::spin:
      spin_step(weight, slot.first, grad,
                {.lr = lr,
                 .momentum = spec_.spin_momentum,
                 .threshold = spec_.spin_threshold,
                 .tunnel = spec_.spin_tunnel,
                 .absolute = spec_.spin_absolute},
                seed);
      break;
    case OptimizerKind::sgld:
      sgld_step(weight, grad, lr, spec_.sgld_temperature * lr_share, seed);
      break;
    case OptimizerKind::distillix_muon: distillix_muon_step(weight, slot.first, grad, lr); break;
  }
}

void Optimizer::move_by_muon(double lr_share) {
  std::vector<MuonMatrix> matrices;
  for (Slot& slot : slots_) {
    const Tensor& weight = slot.parameter.tensor;
    if (slot.rule != OptimizerKind::muon || !weight.grad().defined()) continue;
    matrices.push_back({weight, slot.first, weight.grad()});
  }
  muon_step(matrices,
            {.lr = matrix_rate(lr_share),
             .momentum = muon_momentum(steps_),
             .newton_schulz_steps = spec_.newton_schulz_steps},
            compute_);
}

void Optimizer::apply_forces(Slot& slot, double lr_share, uint64_t seed) const {
  if (!slot.parameter.is_matrix) return;
  Tensor weight = slot.parameter.tensor;
  if (spec_.polarize == job::Polarize::polarized) {
    polarize(weight,
             {.target = spec_.polarize_target,
              .strength = spec_.polarize_strength,
              .absolute = spec_.polarize_absolute},
             seed);
  } else if (spec_.polarize == job::Polarize::double_well) {
    pull_to_wells(weight, {.target = spec_.polarize_target,
                           .share = spec_.polarize_strength * lr_share,
                           .absolute = spec_.polarize_absolute});
  }
  if (slot.rms.defined()) pin_norm(weight, slot.rms);
}

double Optimizer::step(double lr_share, double decay_share) {
  const torch::NoGradGuard no_grad;
  const GradientLook seen = look_at_gradients();
  const double norm = seen.norm;
  if (!looked_) zero_gradients_ = seen.zeros;
  looked_ = false;
  if (std::isfinite(norm)) {
    if (steps_ == 0) remember_norms();
    ++steps_;
    const double clip =
        spec_.grad_clip > 0 && norm > spec_.grad_clip ? spec_.grad_clip / norm : 1.0;
    for (size_t i = 0; i < slots_.size(); ++i) {
      Slot& slot = slots_[i];
      if (!slot.parameter.tensor.grad().defined()) continue;
      if (clip < 1.0) slot.parameter.tensor.mutable_grad().mul_(clip);
      move(slot, lr_share, decay_share, seed_of(seed_, steps_, i, 0));
    }
    move_by_muon(lr_share);
    for (size_t i = 0; i < slots_.size(); ++i) {
      if (!slots_[i].parameter.tensor.grad().defined()) continue;
      apply_forces(slots_[i], lr_share, seed_of(seed_, steps_, i, 1));
    }
  }
  for (Slot& slot : slots_) slot.parameter.tensor.mutable_grad().reset();
  return norm;
}

template <class Visit>
void Optimizer::each_tensor(Slot& slot, const Visit& visit) {
  if (slot.first.defined()) visit("optimizer.first." + slot.parameter.name, slot.first);
  if (slot.second.defined()) visit("optimizer.second." + slot.parameter.name, slot.second);
  if (slot.rms.defined()) visit("optimizer.rms." + slot.parameter.name, slot.rms);
}

std::map<std::string, Tensor> Optimizer::state() const {
  std::map<std::string, Tensor> state;
  for (size_t i = 0; i < slots_.size(); ++i) {
    const int owner = owner_of(i);
    if (rank() != owner && rank() != 0) continue;
    Slot slot = slots_[i];
    if (rank() != owner) allocate(slot);
    each_tensor(slot, [&](const std::string& name, Tensor& tensor) {
      if (share_.ranks != nullptr) share_.ranks->move(tensor, owner, 0);
      state[name] = tensor.cpu();
    });
  }
  state["optimizer.steps"] = at::full({1}, steps_, at::kLong);
  return state;
}

Result<void> Optimizer::load_state(const std::map<std::string, Tensor>& state) {
  const torch::NoGradGuard no_grad;
  Result<void> outcome;
  const auto copy = [&](const std::string& name, Tensor& target) {
    const auto found = state.find(name);
    if (found == state.end() || found->second.sizes() != target.sizes()) {
      outcome = Error{ErrorCode::corrupt, "checkpoint lacks tensor " + name + " of the right shape",
                      "checkpoint"};
      return;
    }
    target.copy_(found->second);
  };
  for (Slot& slot : slots_) {
    allocate(slot);
    each_tensor(slot, copy);
  }
  Tensor steps = at::zeros({1}, at::kLong);
  copy("optimizer.steps", steps);
  if (!outcome) return outcome;
  steps_ = steps.item<int64_t>();
  return {};
}

void Optimizer::scatter_state() {
  if (share_.ranks == nullptr) return;
  for (size_t i = 0; i < slots_.size(); ++i) {
    const int owner = owner_of(i);
    if (owner == 0 || (rank() != owner && rank() != 0)) continue;
    Slot& slot = slots_[i];
    if (!slot.first.defined() && !slot.rms.defined()) allocate(slot);
    each_tensor(slot, [&](const std::string&, Tensor& t) { share_.ranks->move(t, 0, owner); });
    if (rank() != owner) slot.first = slot.second = slot.rms = Tensor();
  }
  Tensor steps = at::full({1}, steps_, at::kLong);
  share_.ranks->broadcast(steps);
  steps_ = steps.item<int64_t>();
}

}  // namespace tristill::train
