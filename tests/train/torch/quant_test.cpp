// The rules of ternary weights: their formulas, their gradients, and that the engine gives the bits
// of the trainer's layers.
#include <gtest/gtest.h>
#include <torch/types.h>

#include <cmath>
#include <cstring>
#include <stdexcept>

#include "tests/support/test_model.h"
#include "tests/train/torch/engine_panels.h"
#include "train/quant/learned_scale.h"
#include "train/quant/lsq.h"
#include "train/quant/seq.h"
#include "train/quant/tequila.h"
#include "train/quant/twn.h"
#include "train/student/student.h"

namespace tristill::train {
namespace {

using job::WeightRule;
using torch::Tensor;

constexpr WeightRule kRules[] = {WeightRule::absmean, WeightRule::twn, WeightRule::lsq,
                                 WeightRule::seq, WeightRule::tequila};

Tensor random(at::IntArrayRef shape, uint64_t seed) {
  at::manual_seed(seed);
  return at::randn(shape, at::kFloat);
}

std::shared_ptr<const TernaryRule> rule(WeightRule weights) {
  return ternary_rule({.weights = weights});
}

LinearWeight layer(WeightRule weights, const Tensor& latent) {
  LinearWeight made(latent.detach().clone().set_requires_grad(true), LinearMode::ternary,
                    at::kFloat, rule(weights));
  made.refresh();
  return made;
}

void expect_close(const Tensor& a, const Tensor& b, double tolerance, const char* what) {
  ASSERT_EQ(a.sizes(), b.sizes()) << what;
  const double size = b.abs().max().item<double>() + 1e-12;
  EXPECT_LT((a.to(at::kDouble) - b).abs().max().item<double>() / size, tolerance) << what;
}

// A file of packed ternary weights has its own scale, which mean |W| over the zeros too is not.
TEST(TernaryRules, AMatrixThatIsTernaryAlreadyIsServedAsItIs) {
  const Tensor values = random({64, 48}, 3).mul_(0.7).round_().clamp_(-1, 1);
  ASSERT_GT((values == 0).sum().item<int64_t>(), 500);
  for (const WeightRule weights : kRules) {
    LinearWeight made = layer(weights, values * 0.03);
    made.start_from_ternary();
    made.refresh();
    EXPECT_NEAR(made.scale().item<double>(), 0.03, 1e-7) << static_cast<int>(weights);
    EXPECT_TRUE(made.values().equal(values.to(at::kChar))) << static_cast<int>(weights);
    const Tensor bias = made.bias().defined() ? made.bias() : at::zeros({1});
    EXPECT_EQ(bias.abs().max().item<float>(), 0);
  }
}

// Zero at alpha 0.3: LSQ's thresholds are at 0.15, SEQ's at 0.1; both clip.
TEST(TernaryRules, LearnedScalesHaveTheLevelsAndThresholdsOfTheirForms) {
  const Tensor w = torch::tensor({{0.09F, 0.11F, -0.14F, 0.16F, -0.29F, 0.9F}});
  const auto lsq = LearnedScale(kLsq).ternarize(w, torch::tensor({std::log(0.3F)}));
  EXPECT_TRUE(lsq.values.equal(torch::tensor({{0, 0, 0, 1, -1, 1}}).to(at::kChar)));
  EXPECT_FLOAT_EQ(lsq.scale.item<float>(), 0.3F);
  const auto seq = LearnedScale(kSeq).ternarize(w, torch::tensor({std::log(0.2F)}));
  EXPECT_TRUE(seq.values.equal(torch::tensor({{0, 1, -1, 1, -1, 1}}).to(at::kChar)));
  EXPECT_FLOAT_EQ(seq.scale.item<float>(), 0.2F);  // two thirds of alpha
  EXPECT_FALSE(seq.bias.defined());
}

// Seeds' vector T14, which has no scale: threshold 0.231875, y = [2.003, -2.5].
TEST(TernaryRules, TwnHasTheReferenceVectorsLevelsAndTheScaleOfLeastSquares) {
  const Tensor w = torch::tensor({{0.1F, -0.4F, 0.05F, 0.9F}, {-0.2F, 0.3F, -0.7F, 0.0F}});
  const auto made = Twn().ternarize(w, {});
  const Tensor levels = torch::tensor({{0, -1, 0, 1}, {0, 1, -1, 0}});
  EXPECT_TRUE(made.values.equal(levels.to(at::kChar)));
  const Tensor y = at::mv(made.values.to(at::kFloat), torch::tensor({1.0F, -2.0F, 0.5F, 0.003F}));
  EXPECT_FLOAT_EQ(y[0].item<float>(), 2.003F);
  EXPECT_FLOAT_EQ(y[1].item<float>(), -2.5F);
  EXPECT_FLOAT_EQ(made.scale.item<float>(), (0.4F + 0.9F + 0.3F + 0.7F) / 4);
  const auto error = [&](double scale) {
    return (w - made.values * scale).square().sum().item<double>();
  };
  const double scale = made.scale.item<double>();
  EXPECT_LT(error(scale), error(scale * 1.01));
  EXPECT_LT(error(scale), error(scale * 0.99));
}

TEST(TernaryRules, TwnOfNothingButZerosHasScaleZero) {
  const auto made = Twn().ternarize(at::zeros({3, 5}), {});
  EXPECT_EQ(made.scale.item<float>(), 0.0F);
  EXPECT_EQ(made.values.abs().max().item<int8_t>(), 0);
}

TEST(TernaryRules, LatentsThatAreNotFiniteAreRefused) {
  for (const WeightRule weights : kRules) {
    const Tensor w = torch::tensor({{0.1F, NAN}});
    EXPECT_THROW(rule(weights)->ternarize(w, torch::tensor({-1.0F})), std::domain_error);
  }
}

// Autograd, in fp64, of W^ = alpha (clip(W / alpha) + what rounding adds, detached).
TEST(TernaryRules, GradientsOfLearnedScalesAreThoseOfTheStraightThroughFormula) {
  for (const LearnedScaleForm form : {kLsq, kSeq}) {
    const Tensor w = random({48, 96}, 1) * 0.1;
    const Tensor g = random({48, 96}, 2);
    const Tensor log_scale = torch::tensor({std::log(0.07F)});
    const LearnedScale learned(form);
    const auto found = learned.backward(w, log_scale, learned.ternarize(w, log_scale), {g, {}});

    const Tensor w64 = w.to(at::kDouble).set_requires_grad(true);
    const Tensor log64 = log_scale.to(at::kDouble).set_requires_grad(true);
    const Tensor alpha = log64.exp() * form.levels;
    const Tensor inside = (w64 / alpha).clamp(-form.clip, form.clip);
    const Tensor rounded = (inside * form.levels).round() / form.levels;
    const Tensor quantized = alpha * (inside + (rounded - inside).detach());
    (quantized * g.to(at::kDouble)).sum().backward();
    expect_close(found.latent, w64.grad(), 1e-5, "dW");
    expect_close(found.log_scale, log64.grad() / std::sqrt(48.0 * 96.0), 1e-4, "dscale");
    const double clipped = inside.abs().ge(form.clip).to(at::kDouble).mean().item<double>();
    EXPECT_NEAR(learned.clipped_share(w, log_scale), clipped, 1e-3);
    EXPECT_GT(clipped, 0.1);
  }
}

// T stands still under small changes of alpha: away from thresholds the formula is a derivative.
TEST(TernaryRules, AScalesGradientIsTheSlopeOfTheLossBeyondTheClip) {
  const Tensor w = torch::tensor({{0.9F, -0.8F, 0.7F, -1.5F}});  // all beyond alpha
  const Tensor g = torch::tensor({{1.0F, 0.5F, -0.25F, 2.0F}});
  for (const LearnedScaleForm form : {kLsq, kSeq}) {
    const LearnedScale learned(form);
    const auto loss = [&](double log_scale) {
      const auto made = learned.ternarize(w, torch::tensor({static_cast<float>(log_scale)}));
      return (made.values * g).sum().item<double>() * std::exp(log_scale);
    };
    const double at = std::log(0.3);
    const double slope = (loss(at + 1e-3) - loss(at - 1e-3)) / 2e-3;
    const Tensor log_scale = torch::tensor({static_cast<float>(at)});
    const auto found = learned.backward(w, log_scale, learned.ternarize(w, log_scale), {g, {}});
    EXPECT_NEAR(found.log_scale.item<double>(), slope / 2.0, 1e-5);  // sqrt(numel) is 2
    EXPECT_EQ(found.latent.abs().max().item<float>(), 0.0F);
  }
}

TEST(TernaryRules, LearnedScalesStartAsAbsmeanAndGetGradientThroughTheLayer) {
  const Tensor latent = random({40, 128}, 3);
  const LinearWeight plain = layer(WeightRule::absmean, latent);
  for (const WeightRule weights : {WeightRule::lsq, WeightRule::seq}) {
    const LinearWeight weight = layer(weights, latent);
    EXPECT_NEAR(weight.scale().item<float>(), plain.scale().item<float>(), 1e-6);
    EXPECT_LE(weight.values().ne(plain.values()).sum().item<int64_t>(), 1);  // a tie at most
    const Tensor x = random({30, 128}, 4);
    const Tensor dy = random({30, 40}, 5);
    (linear_group(x, {&weight})[0] * dy).sum().backward();
    const auto tokens = quantize_tokens(x);
    const Tensor by_matrix = at::mm(dy.t(), tokens.values * tokens.scale.unsqueeze(1));
    const auto expected =
        rule(weights)->backward(weight.latent(), weight.log_scale(),
                                {weight.values(), weight.scale(), {}}, {by_matrix, {}});
    expect_close(weight.latent().grad(), expected.latent.to(at::kDouble), 1e-5, "dW");
    expect_close(weight.log_scale().grad(), expected.log_scale.to(at::kDouble), 1e-4, "dscale");
    EXPECT_NE(weight.log_scale().grad().item<float>(), 0.0F);
  }
}

// Autograd, in fp64, of x (gamma T)^t + lambda sum of the dead, gamma T being straight through.
TEST(TernaryRules, TequilaAddsTheDeadWeightsAndTellsThemWhatTheirRowWants) {
  constexpr double kLambda = 0.02;
  const Tensor latent = random({24, 160}, 6);
  LinearWeight weight(latent.clone().set_requires_grad(true), LinearMode::ternary, at::kFloat,
                      std::make_shared<Tequila>(static_cast<float>(kLambda)));
  weight.refresh();
  const Tensor x = random({50, 160}, 7);
  const Tensor dy = random({50, 24}, 8);
  const Tensor y = linear_group(x, {&weight})[0];
  (y * dy).sum().backward();

  const auto tokens = quantize_tokens(x);
  const Tensor seen = (tokens.values * tokens.scale.unsqueeze(1)).to(at::kDouble);
  const Tensor w64 = latent.to(at::kDouble).set_requires_grad(true);
  const Tensor matrix = w64 + ((weight.values() * weight.scale()).to(at::kDouble) - w64).detach();
  const Tensor dead = weight.values().eq(0).to(at::kDouble);
  const Tensor y64 = at::mm(seen, matrix.t()) + kLambda * (w64 * dead).sum(1);
  (y64 * dy.to(at::kDouble)).sum().backward();
  expect_close(y, y64.detach(), 1e-5, "y");
  expect_close(weight.latent().grad(), w64.grad(), 1e-5, "dW");
  EXPECT_GT(weight.bias().abs().min().item<float>(), 0.0F);
}

TEST(TernaryRules, TheSameSeedDrawsTheSameLatentsWhateverTheRule) {
  const ModelConfig config = test::random_model().config;
  const Student plain(config, true, at::kFloat, 3);
  for (const WeightRule weights : kRules) {
    const Student student(config, true, at::kFloat, 3, rule(weights));
    const bool learns = weights == WeightRule::lsq || weights == WeightRule::seq;
    const size_t n = plain.parameters().size();
    ASSERT_EQ(student.parameters().size(), n + (learns ? 7 * config.n_layers : 0));
    for (size_t i = 0; i < student.parameters().size(); ++i) {
      const NamedParameter& parameter = student.parameters()[i];
      EXPECT_EQ(parameter.is_scale, i >= n) << parameter.name;
      if (i < n) {
        EXPECT_TRUE(parameter.tensor.equal(plain.parameters()[i].tensor)) << parameter.name;
      } else {
        EXPECT_FALSE(parameter.is_matrix);
        EXPECT_EQ(parameter.tensor.dim(), 1);  // no decay
      }
    }
  }
}

// What the engine makes of an exported matrix: y of every token, on every instruction set.
void expect_engine_gives_the_same_bits(const LinearWeight& weight, const Tensor& x) {
  const Tensor trainer = linear_group(x, {&weight})[0];
  const QuantizedTokens tokens = quantize_tokens(x);
  const auto rows = static_cast<size_t>(weight.values().size(0));
  const auto cols = static_cast<size_t>(weight.values().size(1));
  const int8_t* values = weight.values().data_ptr<int8_t>();
  IntegerMatrix matrix{.rows = rows,
                       .cols = cols,
                       .values = {values, values + rows * cols},
                       .scale = {weight.scale().item<float>()}};
  if (weight.bias().defined()) {
    const float* bias = weight.bias().data_ptr<float>();
    matrix.bias.assign(bias, bias + rows);
  }
  const EnginePanels packed(matrix);
  const PanelMatrix& panels = packed.matrix();
  for (const auto* const* table = kernels::runnable(); *table != nullptr; ++table) {
    Tensor engine = at::empty({x.size(0), static_cast<int64_t>(panels.rows)}, at::kFloat);
    for (int64_t t = 0; t < x.size(0); ++t) {  // a tile of one token is a plain row
      (*table)->linear(
          {.x = {tokens.values[t].data_ptr<int8_t>(), tokens.scale.data_ptr<float>() + t,
                 tokens.sum.data_ptr<int32_t>() + t, 1},
           .kind = panels.kind,
           .panels = panels.data,
           .cols = panels.cols,
           .panel_begin = 0,
           .panel_end = panels.n_panels(),
           .scale = panels.scale.data(),
           .bias = panels.bias.empty() ? nullptr : panels.bias.data(),
           .finish = kernels::Finish::store,
           .out = engine[t].data_ptr<float>(),
           .ld_out = panels.rows});
    }
    const Tensor used = engine.slice(1, 0, trainer.size(1)).contiguous();
    EXPECT_EQ(std::memcmp(used.data_ptr<float>(), trainer.data_ptr<float>(),
                          static_cast<size_t>(trainer.numel()) * sizeof(float)),
              0)
        << (*table)->isa;
  }
}

TEST(TernaryRules, TheEngineGivesTheBitsOfTheTrainersLayers) {
  for (const WeightRule weights : kRules) {
    SCOPED_TRACE(static_cast<int>(weights));
    const LinearWeight weight = layer(weights, random({96, 512}, 9));
    EXPECT_EQ(weight.bias().defined(), weights == WeightRule::tequila);
    expect_engine_gives_the_same_bits(weight, random({33, 512}, 10) * 3);
  }
}

}  // namespace
}  // namespace tristill::train
