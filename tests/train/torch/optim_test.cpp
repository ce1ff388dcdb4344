// The rules that move weights, against numbers and against what they promise.
#include <gtest/gtest.h>

#include <cmath>

#include "train/optim/adamw.h"
#include "train/optim/distillix_muon.h"
#include "train/optim/double_well.h"
#include "train/optim/fogzo.h"
#include "train/optim/muon.h"
#include "train/optim/norm_pinning.h"
#include "train/optim/optimizer.h"
#include "train/optim/polarized.h"
#include "train/optim/schedule.h"
#include "train/optim/sgld.h"
#include "train/optim/spin.h"

namespace tristill::train {
namespace {

using job::OptimizerKind;
using torch::Tensor;

void expect_near(const Tensor& actual, const Tensor& expected, double tolerance) {
  EXPECT_TRUE(at::allclose(actual.reshape({-1}), expected.reshape({-1}), 0, tolerance))
      << actual << expected;
}

Tensor normal(at::IntArrayRef shape, double std, uint64_t seed) {
  at::manual_seed(seed);
  return at::randn(shape) * std;
}

// T = clip(round(W / gamma)), as the student derives it.
Tensor ternary(const Tensor& w) { return (w / w.abs().mean()).round().clamp(-1, 1); }

double zero_fraction(const Tensor& w) {
  return ternary(w).eq(0).to(at::kFloat).mean().item<double>();
}

TEST(Muon, TheQuinticOrthogonalisesAndTheCubicOfDistillixIsAsLargeAsItsInput) {
  const Tensor m = torch::tensor({{3.0F, 1.0F}, {1.0F, 2.0F}});
  expect_near(orthogonalize(m, 5, at::kFloat),
              torch::tensor({.8296525F, -.1427803F, -.1427803F, .9724333F}), 2e-6);
  expect_near(distillix_newton_schulz(m), at::eye(2) * std::sqrt(15.0), 0.02);
}

TEST(Muon, ItsStepDoesNotDependOnTheGradientsSizeAndDistillixsDoes) {
  const Tensor grad = normal({32, 64}, 1, 1);
  const auto moved = [&](double scale, bool ours) {
    Tensor w = at::zeros({32, 64});
    Tensor momentum = at::zeros({32, 64});
    if (ours) muon_step({{w, momentum, grad * scale}}, {.lr = 0.02}, at::kFloat);
    else distillix_muon_step(w, momentum, grad * scale, 0.02);
    return w.norm().item<double>();
  };
  EXPECT_NEAR(moved(1e-6, true) / moved(1, true), 1, 1e-3);
  EXPECT_NEAR(moved(1e-3, false) / moved(1, false), 1e-3, 1e-5);
}

TEST(DistillixMuon, TallAndWideMatricesGiveTheSame) {
  const Tensor m = normal({24, 8}, 1, 2);
  expect_near(distillix_newton_schulz(m), distillix_newton_schulz(m.t().contiguous()).t(), 1e-5);
}

TEST(Spin, AStepIsOneRateAndThreeInsideTheDeadZone) {
  Tensor w = torch::tensor({0.001F, -0.2F});
  Tensor inertia = at::zeros({2});
  const SpinRate seed{.lr = 1e-3, .momentum = 0.9, .threshold = 0.05, .absolute = true};
  spin_step(w, inertia, torch::tensor({1.0F, -2.0F}), seed, 1);
  expect_near(w, torch::tensor({-0.002F, -0.199F}), 1e-8);
}

// On a quadratic, which a difference of losses measures exactly, the estimate along the gradient is
// the gradient, whatever was claimed about its length.
TEST(Fogzo, AlongAGradientTheLossGivesItsTrueLength) {
  const Tensor target = normal({8, 16}, 1, 5);
  Tensor weight = normal({8, 16}, 1, 6).set_requires_grad(true);
  const auto loss = [&] { return (weight - target).square().sum().item<double>(); };
  const Tensor gradient = 2 * (weight.detach() - target);
  weight.mutable_grad() = gradient * 7;
  const Tensor before = weight.detach().clone();
  const double norm = probe_reach(weight) * weight.grad().norm().item<double>();
  GuidedProbe probe({{weight, 0}}, norm, 1, 3);
  probe.move_to(1);
  EXPECT_FALSE(weight.equal(before));
  const double up = loss();
  probe.move_to(-1);
  const double down = loss();
  probe.move_to(0);
  EXPECT_TRUE(weight.equal(before));
  probe.give_gradients(up, down);
  EXPECT_TRUE(at::allclose(weight.grad(), gradient, 1e-3, 1e-3));
}

// Matrices of very different size are probed together: a linear loss gives each its gradient back.
TEST(Fogzo, AlongTheGradientALinearLossGivesItBackInEveryMatrix) {
  const std::vector<Tensor> slopes = {normal({8, 16}, 0.1, 11), normal({4, 8}, 3, 12)};
  std::vector<Tensor> weights = {normal({8, 16}, 1, 13), normal({4, 8}, 0.05, 14)};
  for (size_t i = 0; i < 2; ++i) {
    weights[i].set_requires_grad(true);
    weights[i].mutable_grad() = slopes[i].clone();
  }
  const auto loss = [&] {
    const torch::NoGradGuard no_grad;
    double sum = 0;
    for (size_t i = 0; i < 2; ++i) {
      sum += (weights[i].to(at::kDouble) * slopes[i].to(at::kDouble)).sum().item<double>();
    }
    return sum;
  };
  Optimizer optimizer({}, {{"a", weights[0], true}, {"b", weights[1], true}}, at::kFloat);
  const double norm = optimizer.look_before_change();
  const double a = weights[0].abs().mean().item<double>() * slopes[0].norm().item<double>();
  const double b = weights[1].abs().mean().item<double>() * slopes[1].norm().item<double>();
  EXPECT_NEAR(norm, std::sqrt((a * a + b * b) / 12), 1e-5 * norm);
  GuidedProbe probe({{weights[0], 0}, {weights[1], 1}}, norm, 1, 3);
  probe.move_to(1);
  const double up = loss();
  probe.move_to(-1);
  const double down = loss();
  probe.move_to(0);
  probe.give_gradients(up, down);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_TRUE(at::allclose(weights[i].grad(), slopes[i], 1e-3, 1e-5)) << i;
  }
}

// With noise alone it has the mean that the loss has, not the straight-through estimator's.
TEST(Fogzo, NoiseMakesTheEstimateThatOfTheLoss) {
  const Tensor slope = normal({2, 3}, 1, 8);
  Tensor weight = at::ones({2, 3}).set_requires_grad(true);
  Tensor sum = at::zeros({2, 3});
  constexpr int kProbes = 4000;
  for (uint64_t seed = 0; seed < kProbes; ++seed) {
    weight.mutable_grad() = at::ones({2, 3});
    GuidedProbe probe({{weight, 0}}, probe_reach(weight) * std::sqrt(6.0), 0.5, seed);
    double losses[2];
    for (const int side : {1, -1}) {
      probe.move_to(side);
      losses[side < 0] = (weight * slope).sum().item<double>();
    }
    probe.move_to(0);
    probe.give_gradients(losses[0], losses[1]);
    sum = sum + weight.grad();
  }
  // b (slope . v) v + (1 - b) slope, of the direction v that was claimed.
  const Tensor expected = 0.5 * slope.sum() / 6 * at::ones({2, 3}) + 0.5 * slope;
  EXPECT_LT((sum / kProbes - expected).abs().max().item<double>(), 0.15) << sum / kProbes;
}

TEST(Sgld, DescendsWithNoiseOfItsTemperature) {
  const Tensor grad = normal({400, 500}, 1, 4);
  Tensor still = at::zeros_like(grad);
  sgld_step(still, grad, 0.1, 0, 7);
  expect_near(still, grad * -0.1, 1e-8);
  const auto noise = [&](uint64_t seed) {
    Tensor w = at::zeros_like(grad);
    sgld_step(w, at::zeros_like(grad), 0.1, 0.05, seed);
    return w;
  };
  EXPECT_NEAR(noise(7).std().item<double>(), std::sqrt(2 * 0.1 * 0.05), 1e-3);
  EXPECT_NEAR(noise(7).mean().item<double>(), 0, 1e-3);
  EXPECT_TRUE(noise(7).equal(noise(7)));
  EXPECT_FALSE(noise(7).equal(noise(8)));
}

TEST(Spin, InertiaKeepsASpinUntilSeveralGradientsAskOtherwise) {
  Tensor w = at::ones({1});
  Tensor inertia = at::zeros({1});
  const SpinRate rate{.lr = 0.01, .threshold = 0};
  for (int i = 0; i < 10; ++i) spin_step(w, inertia, at::ones({1}), rate, 1);
  const double before = w.item<double>();
  spin_step(w, inertia, -at::ones({1}), rate, 1);
  EXPECT_NEAR(w.item<double>(), before - 0.01, 1e-6);
  for (int i = 0; i < 5; ++i) spin_step(w, inertia, -at::ones({1}), rate, 1);
  EXPECT_GT(inertia.neg().item<double>(), 0);
}

TEST(Spin, RelativeToGammaOnlyZerosTunnel) {
  Tensor w = normal({64, 64}, 0.02, 3);
  const Tensor start = w.clone();
  Tensor inertia = at::zeros_like(w);
  spin_step(w, inertia, at::ones_like(w), {.lr = 1e-6}, 1);
  const Tensor step = (start - w) / 1e-6;
  const Tensor zeros = ternary(start).eq(0);
  EXPECT_NEAR(step.masked_select(zeros).mean().item<double>(), 3, 0.01);
  EXPECT_NEAR(step.masked_select(zeros.logical_not()).mean().item<double>(), 1, 0.01);
}

TEST(Spin, WithoutAGradientADeadWeightTunnelsAtRandomAndTheSameEachTime) {
  const auto after = [](uint64_t seed) {
    Tensor w = at::zeros({1000});
    Tensor inertia = at::zeros({1000});
    spin_step(w, inertia, at::zeros({1000}), {.absolute = true}, seed);
    return w;
  };
  EXPECT_TRUE(after(5).equal(after(5)));
  EXPECT_FALSE(after(5).equal(after(6)));
  EXPECT_NEAR(after(5).sign().mean().item<double>(), 0, 0.15);
  EXPECT_TRUE(after(5).abs().sub(0.002).abs().max().item<double>() < 1e-9);
}

TEST(Polarized, MovesAsDistillixsCodeDoes) {
  Tensor w = torch::tensor({.001F, -.004F, .006F, -.009F, .02F});
  polarize(w, {.target = 0.01, .strength = 0.1, .absolute = true}, 1);
  expect_near(w, torch::tensor({.201F, -.204F, .0064F, -.0091F, .02F}), 1e-7);
}

// The published defect: a push of twenty times the target makes zeros of the others.
TEST(Polarized, InAbsoluteFormAFreshLayerGetsMoreZerosNotFewer) {
  Tensor w = normal({768, 768}, 0.021, 4);
  const double before = zero_fraction(w);
  polarize(w, {.target = 0.01, .strength = 0.1, .absolute = true}, 1);
  EXPECT_NEAR(before, 0.31, 0.01);
  EXPECT_GT(zero_fraction(w), 0.45);
}

TEST(Polarized, RelativeToGammaItTakesZerosAwayAtAnyScale) {
  for (const double scale : {1e-6, 0.02, 10.0}) {
    Tensor w = normal({256, 256}, scale, 5);
    const Tensor large = w.abs().ge(w.abs().mean());
    const Tensor start = w.clone();
    for (int i = 0; i < 20; ++i) polarize(w, {}, 1);
    EXPECT_LT(zero_fraction(w), 0.2);
    if (scale == 0.02) {
      Tensor once = start.clone();
      polarize(once, {}, 1);
      EXPECT_TRUE(once.masked_select(large).equal(start.masked_select(large)));  // no pull back
    }
  }
}

TEST(DoubleWell, PullsBothWaysAndKeepsGamma) {
  Tensor w = normal({256, 256}, 0.02, 6);
  const double gamma = w.abs().mean().item<double>();
  for (int i = 0; i < 300; ++i) pull_to_wells(w, {.share = 0.02});
  EXPECT_NEAR(w.abs().mean().item<double>(), gamma, gamma * 1e-3);
  EXPECT_LT(w.abs().std().item<double>(), 0.01 * gamma);
  EXPECT_LT(zero_fraction(w), 0.01);
  Tensor absolute = torch::tensor({0.5F, -3.0F, 0.0F});
  pull_to_wells(absolute, {.target = 1, .share = 0.5, .absolute = true});
  expect_near(absolute, torch::tensor({0.75F, -2.0F, 0.0F}), 1e-7);
}

TEST(NormPinning, HoldsTheSizeAndNotTheValues) {
  Tensor w = normal({64, 64}, 0.1, 7);
  const Tensor rms = root_mean_square(w).reshape({1});
  const Tensor grown = w * 3 + 0.01 * at::ones_like(w);
  Tensor pinned = grown.clone();
  pin_norm(pinned, rms);
  EXPECT_NEAR(root_mean_square(pinned).item<double>(), rms.item<double>(), 1e-7);
  EXPECT_TRUE(ternary(pinned).equal(ternary(grown)));
  Tensor none = at::zeros({2, 2});
  pin_norm(none, rms);
  EXPECT_TRUE(none.equal(at::zeros({2, 2})));
}

TEST(Schedule, CosineHasTheNumbersOfDistillix) {
  job::OptimizerSpec spec;
  spec.schedule = job::LrSchedule::cosine;
  spec.warmup = 500.0 / 100000;
  spec.lr_floor = 1.0 / 30;
  const auto at_step = [&](double step) { return schedule_multiplier(spec, step / 100000, 0); };
  EXPECT_NEAR(at_step(0), 0, 1e-12);
  EXPECT_NEAR(at_step(250), 0.5, 1e-12);
  EXPECT_NEAR(at_step(500), 1, 1e-9);
  EXPECT_NEAR(at_step(50250), 0.516667, 1e-6);
  EXPECT_NEAR(at_step(100000), 0.033333, 1e-6);
}

TEST(Schedule, TwoStagesDropAtHalfOfTheBudget) {
  job::OptimizerSpec spec;
  spec.schedule = job::LrSchedule::two_stage;
  spec.weight_decay_schedule = job::WeightDecaySchedule::two_stage;
  spec.warmup = 0.1;
  EXPECT_NEAR(schedule_multiplier(spec, 0.05, 0), 0.5, 1e-12);
  EXPECT_NEAR(schedule_multiplier(spec, 0.2, 0), 0.8, 1e-12);
  EXPECT_NEAR(schedule_multiplier(spec, 0.4999, 0), 0.5001, 1e-12);
  EXPECT_NEAR(schedule_multiplier(spec, 0.5, 0), 0.5 * 2 / 3, 1e-12);
  EXPECT_NEAR(schedule_multiplier(spec, 1, 0), 0, 1e-12);
  EXPECT_EQ(decay_multiplier(spec, 0.4999), 1);
  EXPECT_EQ(decay_multiplier(spec, 0.5), 0);
  spec.weight_decay_schedule = job::WeightDecaySchedule::constant;
  EXPECT_EQ(decay_multiplier(spec, 0.9), 1);
}

// Every kind and every force, as specs.
std::vector<job::OptimizerSpec> all_specs() {
  std::vector<job::OptimizerSpec> all(8);
  all[1].kind = OptimizerKind::adamw;
  all[2].kind = OptimizerKind::spin;
  all[2].lr = 1e-3;
  all[3].kind = OptimizerKind::distillix_muon;
  all[3].weight_decay = 0.1;
  all[4].polarize = job::Polarize::polarized;
  all[5].polarize = job::Polarize::double_well;
  all[6].norm_pinning = true;
  all[7].kind = OptimizerKind::sgld;
  all[7].lr = 1e-2;
  return all;
}

struct Weights {
  explicit Weights(uint64_t seed)
      : matrix(normal({16, 24}, 0.2, seed).set_requires_grad(true)),
        table(normal({8, 16}, 0.2, seed + 1).set_requires_grad(true)),
        gain(at::ones({16}).set_requires_grad(true)) {}
  std::vector<NamedParameter> parameters() const {
    return {{"m", matrix, true}, {"t", table, false}, {"g", gain, false}};
  }
  void train(Optimizer& optimizer, int begin, int end) const {
    for (int i = begin; i < end; ++i) {
      const Tensor x = normal({4, 24}, 1, 100 + static_cast<uint64_t>(i));
      const Tensor y = at::mm(at::mm(x, matrix.t()) * gain, table.t());
      y.sub(1).square().mean().backward();
      optimizer.step(1.0 - 0.01 * i);
    }
  }
  Tensor matrix, table, gain;
};

TEST(Optimizer, EveryKindGoesOnFromItsStateToTheBit) {
  for (const job::OptimizerSpec& spec : all_specs()) {
    const Weights straight(9);
    Optimizer whole(spec, straight.parameters(), at::kFloat);
    straight.train(whole, 0, 12);
    const Weights parts(9);
    Optimizer first(spec, parts.parameters(), at::kFloat);
    parts.train(first, 0, 5);
    Optimizer second(spec, parts.parameters(), at::kFloat);
    std::map<std::string, Tensor> saved;
    for (const auto& [name, tensor] : first.state()) saved[name] = tensor.clone();
    ASSERT_TRUE(second.load_state(saved));
    parts.train(second, 5, 12);
    EXPECT_TRUE(straight.matrix.equal(parts.matrix)) << static_cast<int>(spec.kind);
    EXPECT_TRUE(straight.table.equal(parts.table)) << static_cast<int>(spec.kind);
    EXPECT_TRUE(straight.gain.equal(parts.gain)) << static_cast<int>(spec.kind);
    saved.erase("optimizer.first.t");
    EXPECT_FALSE(second.load_state(saved));
  }
}

TEST(Optimizer, NormPinningHoldsTheFirstSizeOfEachMatrixAlone) {
  job::OptimizerSpec spec;
  spec.norm_pinning = true;
  const Weights weights(10);
  const double before = root_mean_square(weights.matrix).item<double>();
  const double table = root_mean_square(weights.table).item<double>();
  Optimizer optimizer(spec, weights.parameters(), at::kFloat);
  weights.train(optimizer, 0, 20);
  EXPECT_NEAR(root_mean_square(weights.matrix).item<double>(), before, 1e-6);
  EXPECT_GT(std::abs(root_mean_square(weights.table).item<double>() - table), 1e-4);
}

TEST(Optimizer, WeightDecayEndsWithItsShare) {
  job::OptimizerSpec spec;
  spec.weight_decay = 0.5;
  for (const double share : {1.0, 0.0}) {
    Tensor w = at::ones({4, 4}).set_requires_grad(true);
    Optimizer optimizer(spec, {{"w", w, true}}, at::kFloat);
    w.mutable_grad() = at::zeros({4, 4});
    optimizer.step(1.0, share);
    EXPECT_NEAR(w[0][0].item<double>(), 1.0 - 0.02 * 0.5 * share, 1e-6);
  }
}

}  // namespace
}  // namespace tristill::train
