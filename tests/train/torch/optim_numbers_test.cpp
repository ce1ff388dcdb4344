// The steps of the rules against their formulas, computed beside them.
#include <gtest/gtest.h>

#include <cmath>
#include <utility>

#include "train/optim/adamw.h"
#include "train/optim/muon.h"
#include "train/optim/optimizer.h"

namespace tristill::train {
namespace {

using torch::Tensor;

Tensor normal(at::IntArrayRef shape, uint64_t seed) {
  at::manual_seed(seed);
  return at::randn(shape);
}

// Gradients of 1; of 1e-5, whose squares are of the size of eps; and of the size of eps itself.
TEST(AdamW, ThreeStepsAreThoseOfItsFormula) {
  constexpr double kRate = 0.1;
  const double gradients[3][3] = {{1, -1e-5, 1e-10}, {-0.5, 2e-5, 3e-10}, {2, 1e-5, -1e-10}};
  Tensor weight = torch::tensor({0.5F, -0.25F, 0.125F});
  Tensor first = at::zeros({3});
  Tensor second = at::zeros({3});
  double w[3] = {0.5, -0.25, 0.125};
  double m[3] = {};
  double v[3] = {};
  for (int step = 1; step <= 3; ++step) {
    const double* g = gradients[step - 1];
    const Tensor grad = torch::tensor(
        {static_cast<float>(g[0]), static_cast<float>(g[1]), static_cast<float>(g[2])});
    adamw_step(weight, first, second, grad, kRate, step);
    for (int i = 0; i < 3; ++i) {
      m[i] = 0.9 * m[i] + 0.1 * g[i];
      v[i] = 0.95 * v[i] + 0.05 * g[i] * g[i];
      const double corrected_m = m[i] / (1 - std::pow(0.9, step));
      const double corrected_v = v[i] / (1 - std::pow(0.95, step));
      w[i] -= kRate * corrected_m / (std::sqrt(corrected_v) + 1e-10);
      EXPECT_NEAR(weight[i].item<double>(), w[i], 1e-6) << i << " after step " << step;
    }
  }
}

// Nesterov's look ahead, and sqrt(out / in) of a matrix that is taller than wide.
TEST(Muon, AStepIsThatOfItsFormula) {
  for (const auto& [rows, cols] : {std::pair{16, 8}, {8, 16}}) {
    const Tensor start = normal({rows, cols}, 1);
    const Tensor before = normal({rows, cols}, 2);
    const Tensor grad = normal({rows, cols}, 3);
    Tensor weight = start.clone();
    Tensor momentum = before.clone();
    muon_step({{weight, momentum, grad}}, {.lr = 0.1, .momentum = 0.9}, at::kFloat);
    const Tensor after = 0.9 * before + grad;
    EXPECT_TRUE(at::allclose(momentum, after, 0, 1e-6));
    const Tensor update = orthogonalize(grad + 0.9 * after, 5, at::kFloat);
    const double length = rows > cols ? std::sqrt(2.0) : 1.0;
    EXPECT_TRUE(at::allclose(weight, start - 0.1 * length * update, 0, 1e-5)) << rows;
  }
}

TEST(Muon, MomentumGrowsOverTheFirstSteps) {
  EXPECT_DOUBLE_EQ(muon_momentum(0), 0.85);
  EXPECT_DOUBLE_EQ(muon_momentum(150), 0.9);
  EXPECT_DOUBLE_EQ(muon_momentum(300), 0.95);
  EXPECT_DOUBLE_EQ(muon_momentum(1000), 0.95);
}

// Plain descent at rate 1 shows the gradient that was stepped with: norms 3 and 4, together 5.
TEST(Optimizer, ClipsTheNormOfAllGradientsTogether) {
  job::OptimizerSpec spec;
  spec.kind = job::OptimizerKind::sgld;
  spec.sgld_temperature = 0;
  spec.lr = 1;
  spec.grad_clip = 1;
  Tensor a = at::zeros({3, 3}).set_requires_grad(true);
  Tensor b = at::zeros({4, 4}).set_requires_grad(true);
  Optimizer optimizer(spec, {{"a", a, true}, {"b", b, true}}, at::kFloat);
  a.mutable_grad() = at::ones({3, 3});
  b.mutable_grad() = at::ones({4, 4});
  EXPECT_EQ(optimizer.step(1.0), 5);
  EXPECT_TRUE(a.equal(at::full({3, 3}, -0.2F)));
  EXPECT_TRUE(b.equal(at::full({4, 4}, -0.2F)));
  a.mutable_grad() = at::full({3, 3}, 0.125F);
  EXPECT_EQ(optimizer.step(1.0), 0.375);
  EXPECT_TRUE(a.equal(at::full({3, 3}, -0.2F) - 0.125F));
  EXPECT_TRUE(b.equal(at::full({4, 4}, -0.2F)));  // without a gradient
}

TEST(Optimizer, DrawsOthersForAnotherSeedStepAndParameter) {
  job::OptimizerSpec spec;
  spec.kind = job::OptimizerKind::sgld;
  struct Drawn {
    Tensor a, b, later;
  };
  const auto draw = [&](uint64_t seed) {
    Tensor a = at::zeros({8, 8}).set_requires_grad(true);
    Tensor b = at::zeros({8, 8}).set_requires_grad(true);
    Optimizer optimizer(spec, {{"a", a, true}, {"b", b, true}}, at::kFloat, {}, seed);
    const auto step = [&] {
      a.mutable_grad() = at::zeros({8, 8});
      b.mutable_grad() = at::zeros({8, 8});
      optimizer.step(1.0);
    };
    step();
    const Drawn first{a.detach().clone(), b.detach().clone(), {}};
    step();
    return Drawn{first.a, first.b, a.detach() - first.a};
  };
  const Drawn one = draw(1);
  EXPECT_TRUE(one.a.equal(draw(1).a));
  EXPECT_FALSE(one.a.equal(one.later));
  EXPECT_FALSE(one.a.equal(one.b));
  for (const uint64_t other : {uint64_t{2}, uint64_t{1} | uint64_t{1} << 40U}) {
    EXPECT_FALSE(one.a.equal(draw(other).a)) << other;
    EXPECT_FALSE(one.later.equal(draw(other).later)) << other;
  }
}

}  // namespace
}  // namespace tristill::train
