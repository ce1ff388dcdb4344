#include <gtest/gtest.h>
#include <torch/types.h>

#include <cmath>

#include "train/loss/head_loss.h"
#include "train/optim/optimizer.h"
#include "train/optim/schedule.h"

namespace tristill::train {
namespace {

using torch::Tensor;

// The loss of one token from its definition, in fp64 with autograd.
Tensor reference_loss(const Tensor& z, int64_t label, const std::vector<int64_t>& ids,
                      const std::vector<double>& logprobs, double ce_weight, double kd_weight,
                      double z_weight) {
  const Tensor logp = at::log_softmax(z, 0);
  const Tensor lse = at::logsumexp(z, {0});
  Tensor loss = ce_weight * -logp[label] + z_weight * lse * lse;
  Tensor student_mass = at::zeros({}, at::kDouble);
  double teacher_mass = 0;
  Tensor kd = at::zeros({}, at::kDouble);
  for (size_t i = 0; i < ids.size(); ++i) {
    const double t = std::exp(logprobs[i]);
    teacher_mass += t;
    student_mass = student_mass + logp[ids[i]].exp();
    kd = kd + t * (logprobs[i] - logp[ids[i]]);
  }
  const double other = 1.0 - teacher_mass;
  kd = kd + other * (std::log(other) - (1.0 - student_mass).log());
  return loss + kd_weight * kd;
}

TEST(TokenLoss, GradientEqualsAutogradOfTheDefinition) {
  at::manual_seed(1);
  const Tensor z = (at::randn({50}, at::kDouble) * 2).set_requires_grad(true);
  const std::vector<int64_t> ids = {3, 17, 42};
  const std::vector<double> logprobs = {std::log(0.5), std::log(0.2), std::log(0.1)};
  const Tensor expected = reference_loss(z, 17, ids, logprobs, 0.5, 0.5, 1e-2);
  expected.backward();

  std::vector<float> logits(50);
  for (int i = 0; i < 50; ++i) logits[i] = z[i].item<float>();
  const std::vector<int32_t> ids32 = {3, 17, 42};
  const std::vector<float> logprobs32(logprobs.begin(), logprobs.end());
  const LossSums sums = token_loss(logits.data(), 50, {17, ids32.data(), logprobs32.data(), 3},
                                   {.ce = 0.5, .kd = 0.5, .z = 1e-2}, 1.0F);
  EXPECT_NEAR(sums.weighted, expected.item<double>(), 1e-5);
  EXPECT_EQ(sums.taught_tokens, 1);
  for (int i = 0; i < 50; ++i) EXPECT_NEAR(logits[i], z.grad()[i].item<double>(), 1e-5) << i;
}

// A listed token, a label of weight below 1 and a format weight, of each form of the label's loss.
TEST(TokenLoss, SmoothedAndFocalLabelsAreTheirDefinitions) {
  at::manual_seed(3);
  const Tensor given = at::randn({50}, at::kDouble) * 2;
  const std::vector<int32_t> ids = {17, 42};
  const std::vector<float> logprobs = {std::log(0.5F), std::log(0.2F)};
  std::vector<uint8_t> structural(50, 0);
  structural[17] = 1;
  for (const LabelLoss form :
       {LabelLoss{.smoothing = 0.1}, LabelLoss{.focal_gamma = 2}, LabelLoss{.focal_gamma = 0.5}}) {
    const Tensor z = given.clone().set_requires_grad(true);
    const Tensor logp = at::log_softmax(z, 0);
    const Tensor ce = -logp[17];
    const Tensor asked = form.smoothing > 0
                             ? (1 - form.smoothing) * ce - form.smoothing * logp.mean()
                             : (1 - logp[17].exp()).pow(form.focal_gamma) * ce;
    const Tensor expected =
        reference_loss(z, 17, {17, 42}, {logprobs[0], logprobs[1]}, 0, 0.6, 1e-2) + 0.4 * asked +
        0.3 * ce;
    expected.backward();
    std::vector<float> logits(50);
    for (int i = 0; i < 50; ++i) logits[i] = z[i].item<float>();
    const LossSums sums = token_loss(
        logits.data(), 50, {17, ids.data(), logprobs.data(), 2},
        {.ce = 0.4, .kd = 0.6, .z = 1e-2, .label = form, .format = 0.3, .structural = structural},
        1.0F);
    EXPECT_NEAR(sums.weighted, expected.item<double>(), 1e-5);
    EXPECT_NEAR(sums.ce, ce.item<double>(), 1e-5);
    for (int i = 0; i < 50; ++i) EXPECT_NEAR(logits[i], z.grad()[i].item<double>(), 1e-5) << i;
  }
}

// Focal powers below 1 have no slope at p = 1: a label that is certain asks for nothing.
TEST(TokenLoss, AFocalLabelThatIsCertainAsksForNothing) {
  std::vector<float> logits = {0, 200, 0};
  const LossSums sums =
      token_loss(logits.data(), 3, {.label = 1}, {.z = 0, .label = {.focal_gamma = 0.5}}, 1.0F);
  EXPECT_EQ(sums.weighted, 0);
  EXPECT_EQ(logits, (std::vector<float>{0, 0, 0}));
}

TEST(TokenLoss, SoftcapIsInTheGradient) {
  const Tensor z = torch::tensor({1.0, -30.0, 25.0, 3.0}, at::kDouble).set_requires_grad(true);
  const Tensor capped = 10.0 * at::tanh(z / 10.0);
  (-at::log_softmax(capped, 0)[3]).backward();
  std::vector<float> logits = {1.0F, -30.0F, 25.0F, 3.0F};
  token_loss(logits.data(), 4, {.label = 3}, {.z = 0, .softcap = 10.0}, 1.0F);
  for (int i = 0; i < 4; ++i) EXPECT_NEAR(logits[i], z.grad()[i].item<double>(), 1e-6) << i;
}

TEST(TokenLoss, WithoutALabelThereIsNoGradient) {
  std::vector<float> logits = {1, 2, 3};
  const LossSums sums = token_loss(logits.data(), 3, {.label = -100}, {}, 1.0F);
  EXPECT_EQ(sums.tokens, 0);
  EXPECT_EQ(logits, (std::vector<float>{0, 0, 0}));
}

// Seeds' vector T6 at temperature 1, in its strict next-token alignment: the logits of position t
// against the targets of t + 1, so two of the three positions count.
TEST(TokenLoss, GivesTheReferenceVectors) {
  const float rows[2][5] = {{.5F, -1, 2, 0, 1}, {1, .2F, -.3F, .7F, -2}};
  const int64_t labels[] = {0, 3};
  const int32_t ids[2][2] = {{0, 3}, {3, 1}};
  const float logprobs[2][2] = {{-.6F, -1.4F}, {-.3F, -2}};
  double kd = 0;
  double ce = 0;
  for (int i = 0; i < 2; ++i) {
    std::vector<float> logits(rows[i], rows[i] + 5);
    const LossSums sums = token_loss(logits.data(), 5, {labels[i], ids[i], logprobs[i], 2}, {}, 1);
    kd += sums.kd / 2;
    ce += sums.ce / 2;
  }
  EXPECT_NEAR(ce, 1.6478515, 1e-5);
  EXPECT_NEAR(kd, 0.6429350, 1e-5);
}

TEST(HeadLoss, DoesNotDependOnChunksAndGivesGradients) {
  at::manual_seed(2);
  Tensor hidden = at::randn({1500, 64}).set_requires_grad(true);
  LinearWeight head(at::randn({100, 64}).set_requires_grad(true), LinearMode::dense, at::kFloat);
  head.refresh();
  Tensor labels = at::randint(0, 100, {1500}, at::kLong);
  labels.slice(0, 10, 20).fill_(-100);
  LossSums sums;
  const Tensor loss = head_loss(hidden, head, labels, {}, {.z = 0}, sums);
  loss.backward();
  Tensor hidden2 = hidden.detach().clone().set_requires_grad(true);
  Tensor latent2 = head.latent().detach().clone().set_requires_grad(true);
  const Tensor expected = at::cross_entropy_loss(at::mm(hidden2, latent2.t()), labels);
  expected.backward();
  EXPECT_NEAR(loss.item<double>(), expected.item<double>(), 1e-4);
  EXPECT_EQ(sums.tokens, 1490);
  EXPECT_LT((hidden.grad() - hidden2.grad()).abs().max().item<double>(), 1e-6);
  EXPECT_LT((head.latent().grad() - latent2.grad()).abs().max().item<double>(), 1e-5);
}

TEST(HeadLoss, AHeadThatIsNotTrainedGetsNoGradientAndGivesTheSame) {
  at::manual_seed(2);
  const Tensor values = at::randn({100, 64});
  const Tensor labels = at::randint(0, 100, {30}, at::kLong);
  const Tensor given = at::randn({30, 64});
  Tensor hidden[2];
  for (const bool trained : {false, true}) {
    LinearWeight head(values.clone().set_requires_grad(trained), LinearMode::dense, at::kFloat);
    head.refresh();
    hidden[trained] = given.clone().set_requires_grad(true);
    LossSums sums;
    head_loss(hidden[trained], head, labels, {}, {}, sums).backward();
    EXPECT_EQ(head.latent().grad().defined(), trained);
  }
  EXPECT_TRUE(hidden[0].grad().equal(hidden[1].grad()));
}

// Seeds' vector T7: the quintic iteration in fp32.
TEST(Muon, OrthogonalizesTheReferenceMatrix) {
  const Tensor m = torch::tensor({{3.0F, 1.0F}, {1.0F, 2.0F}});
  const Tensor u = orthogonalize(m, 5, at::kFloat);
  EXPECT_NEAR(u[0][0].item<float>(), 0.8296525, 1e-5);
  EXPECT_NEAR(u[0][1].item<float>(), -0.1427803, 1e-5);
  EXPECT_NEAR(u[1][1].item<float>(), 0.9724333, 1e-5);
}

TEST(Muon, UpdateDoesNotGrowWithTheGradient) {
  at::manual_seed(3);
  const Tensor g = at::randn({64, 32});
  const Tensor a = orthogonalize(g, 5, at::kFloat);
  const Tensor b = orthogonalize(g * 1000, 5, at::kFloat);
  EXPECT_LT((a - b).abs().max().item<double>(), 1e-4);
  const Tensor singular = std::get<1>(at::linalg_svd(a, false));
  EXPECT_LT(singular.max().item<double>(), 1.3);
  EXPECT_GT(singular.min().item<double>(), 0.5);
}

TEST(Optimizer, BothKindsLowerAQuadratic) {
  for (const auto kind : {job::OptimizerKind::muon, job::OptimizerKind::adamw}) {
    at::manual_seed(4);
    const Tensor target = at::randn({16, 16});
    Tensor w = at::zeros({16, 16}).set_requires_grad(true);
    job::OptimizerSpec spec;
    spec.kind = kind;
    spec.lr = 0.05;
    spec.adamw_lr = 0.05;
    Optimizer optimizer(spec, {{"w", w, true}}, at::kFloat);
    const double before = (w - target).square().mean().item<double>();
    for (int i = 0; i < 400; ++i) {
      (w - target).square().mean().backward();
      optimizer.step(1.0 - i / 400.0);
    }
    EXPECT_LT((w - target).square().mean().item<double>(), 0.2 * before);
  }
}

TEST(Optimizer, AGradientThatIsNotFiniteChangesNothing) {
  Tensor w = at::ones({4, 4}).set_requires_grad(true);
  Optimizer optimizer({}, {{"w", w, true}}, at::kFloat);
  w.mutable_grad() = at::full({4, 4}, std::nanf(""));
  EXPECT_FALSE(std::isfinite(optimizer.step(1.0)));
  EXPECT_TRUE(w.equal(at::ones({4, 4})));
}

TEST(Schedule, WarmsUpHoldsAndWarmsDown) {
  job::OptimizerSpec spec;
  spec.warmup = 0.1;
  spec.warmdown = 0.4;
  EXPECT_DOUBLE_EQ(schedule_multiplier(spec, 0.0, 0.0), 0.0);
  EXPECT_DOUBLE_EQ(schedule_multiplier(spec, 0.05, 0.0), 0.5);
  EXPECT_DOUBLE_EQ(schedule_multiplier(spec, 0.3, 0.0), 1.0);
  EXPECT_NEAR(schedule_multiplier(spec, 0.8, 0.0), 0.5, 1e-12);
  EXPECT_DOUBLE_EQ(schedule_multiplier(spec, 1.0, 0.0), 0.0);
  EXPECT_GT(schedule_multiplier(spec, 0.0, 0.01), 0.0);
}

}  // namespace
}  // namespace tristill::train
