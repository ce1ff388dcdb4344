// The divergences and tails of distillation against their definitions, in fp64 with autograd.
#include "train/loss/distillation.h"

#include <gtest/gtest.h>
#include <torch/types.h>

#include <cmath>

#include "train/loss/head_loss.h"

namespace tristill::train {
namespace {

using job::Divergence;
using job::Tail;
using torch::Tensor;

constexpr Divergence kAll[] = {Divergence::forward_kl, Divergence::reverse_kl, Divergence::jsd,
                               Divergence::skew_kl, Divergence::skew_reverse_kl};

// What a teacher says of one token.
struct Listed {
  std::vector<int32_t> ids;
  std::vector<float> logprobs;
};

// The k likeliest of softmax(z).
Listed top_of(const Tensor& z, int64_t k) {
  const auto [values, indices] = at::log_softmax(z, 0).topk(k);
  Listed listed;
  for (int64_t i = 0; i < k; ++i) {
    listed.ids.push_back(indices[i].item<int32_t>());
    listed.logprobs.push_back(values[i].item<float>());
  }
  return listed;
}

// log of the bins, tempered, from the definition.
Tensor tempered(const Tensor& masses, double temperature) {
  return at::log_softmax(masses.log() / temperature, 0);
}

Tensor kl(const Tensor& log_p, const Tensor& log_q) {
  return (log_p.exp() * (log_p - log_q)).sum();
}

Tensor defined_divergence(const job::DistillationSpec& spec, const Tensor& log_p,
                          const Tensor& log_q) {
  const auto mix = [&](double share_of_p) {
    return (share_of_p * log_p.exp() + (1 - share_of_p) * log_q.exp()).log();
  };
  switch (spec.divergence) {
    case Divergence::forward_kl: return kl(log_p, log_q);
    case Divergence::reverse_kl: return kl(log_q, log_p);
    case Divergence::jsd:
      return spec.jsd_beta * kl(log_p, mix(spec.jsd_beta)) +
             (1 - spec.jsd_beta) * kl(log_q, mix(spec.jsd_beta));
    case Divergence::skew_kl: return kl(log_p, mix(spec.skew_alpha));
    case Divergence::skew_reverse_kl: return kl(log_q, mix(1 - spec.skew_alpha));
  }
  return {};
}

// The whole distillation loss of the logits z [V].
Tensor defined_loss(const job::DistillationSpec& spec, const Tensor& z, const Listed& teacher) {
  const auto k = static_cast<int64_t>(teacher.ids.size());
  const Tensor ids = at::empty({k}, at::kLong);
  for (int64_t i = 0; i < k; ++i) ids[i] = teacher.ids[static_cast<size_t>(i)];
  const std::vector<double> logprobs(teacher.logprobs.begin(), teacher.logprobs.end());
  const Tensor t = torch::tensor(logprobs, at::kDouble).exp();
  Tensor p = t;
  Tensor q = at::softmax(z, 0).index_select(0, ids);
  if (spec.tail == Tail::other && k < z.size(0)) {
    p = at::cat({p, (1 - p.sum()).reshape({1})});
    q = at::cat({q, (1 - q.sum()).reshape({1})});
  }
  const double tau = spec.temperature;
  return tau * tau * defined_divergence(spec, tempered(p, tau), tempered(q, tau));
}

struct LossAndGradient {
  double loss = 0;
  std::vector<double> gradient;  // [V]
};

// distil() on logits [V], its gradient spread over the vocabulary.
LossAndGradient distilled(const job::DistillationSpec& spec, const std::vector<double>& z,
                          const Listed& teacher) {
  std::vector<bool> is_listed(z.size(), false);
  StudentMasses student;
  for (const int32_t id : teacher.ids) {
    student.listed.push_back(z[static_cast<size_t>(id)]);
    is_listed[static_cast<size_t>(id)] = true;
  }
  double tail = 0;
  for (size_t j = 0; j < z.size(); ++j) tail += is_listed[j] ? 0 : std::exp(z[j]);
  if (teacher.ids.size() < z.size()) student.log_tail = std::log(tail);
  const DistilledToken token = distil(spec, teacher.logprobs, student);
  LossAndGradient result{token.loss, std::vector<double>(z.size())};
  for (size_t j = 0; j < z.size(); ++j) {
    if (!is_listed[j]) result.gradient[j] = token.off_list * std::exp(z[j]) / tail;
  }
  for (size_t i = 0; i < teacher.ids.size(); ++i) {
    result.gradient[static_cast<size_t>(teacher.ids[i])] = token.on_list[i];
  }
  return result;
}

std::vector<double> values_of(const Tensor& z) {
  const Tensor flat = z.detach().to(at::kDouble).contiguous();
  return {flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel()};
}

std::vector<float> floats_of(const Tensor& z) {
  const auto values = values_of(z);
  return {values.begin(), values.end()};
}

std::string name_of(const job::DistillationSpec& spec) {
  return std::string(to_string(spec.divergence)) + " " + std::string(to_string(spec.tail)) + " " +
         std::to_string(spec.temperature);
}

std::vector<job::DistillationSpec> every_spec() {
  std::vector<job::DistillationSpec> specs;
  for (const Divergence divergence : kAll) {
    for (const double temperature : {0.7, 1.0, 1.3, 4.0}) {
      for (const Tail tail : {Tail::other, Tail::ignore}) {
        specs.push_back({.divergence = divergence,
                         .temperature = temperature,
                         .tail = tail,
                         .jsd_beta = 0.3,
                         .skew_alpha = 0.1});
      }
    }
  }
  return specs;
}

TEST(Distillation, LossAndGradientAreThoseOfTheDefinition) {
  at::manual_seed(11);
  for (const job::DistillationSpec& spec : every_spec()) {
    for (const int64_t k : {1, 4, 20}) {
      const Tensor z = (at::randn({20}, at::kDouble) * 2).set_requires_grad(true);
      const Listed teacher = top_of(at::randn({20}, at::kDouble) * 2, k);
      const Tensor expected = defined_loss(spec, z, teacher);
      expected.backward();
      const LossAndGradient got = distilled(spec, values_of(z), teacher);
      EXPECT_NEAR(got.loss, expected.item<double>(), 1e-10) << name_of(spec) << " K " << k;
      double sum = 0;
      for (int j = 0; j < 20; ++j) {
        EXPECT_NEAR(got.gradient[j], z.grad()[j].item<double>(), 1e-10) << name_of(spec);
        sum += got.gradient[j];
      }
      EXPECT_NEAR(sum, 0, 1e-12) << name_of(spec);
    }
  }
}

TEST(Distillation, IsZeroAtTheTeacherAndPositiveElsewhere) {
  at::manual_seed(12);
  for (const job::DistillationSpec& spec : every_spec()) {
    for (const int64_t k : {3, 30}) {
      const Tensor z = at::randn({30}, at::kDouble) * 3;
      const Listed teacher = top_of(z, k);
      const LossAndGradient same = distilled(spec, values_of(z), teacher);
      EXPECT_NEAR(same.loss, 0, 1e-6) << name_of(spec) << " K " << k;
      for (const double slope : same.gradient) EXPECT_NEAR(slope, 0, 1e-6) << name_of(spec);
      const auto other = distilled(spec, values_of(at::randn({30}, at::kDouble)), teacher);
      EXPECT_GT(other.loss, 0) << name_of(spec);
    }
  }
}

// Seeds' vector T17: dense KL at temperature 2; a mean a token, times T^2.
TEST(Distillation, GivesTheReferenceVectorOfDenseKl) {
  const std::vector<double> student[] = {{1, 2, .5}, {0, 0, 1}};
  const Tensor teacher[] = {torch::tensor({2.0, 1.0, 0.0}), torch::tensor({0.0, 1.0, 3.0})};
  double loss = 0;
  for (int i = 0; i < 2; ++i) {
    const Listed dense = top_of(teacher[i].to(at::kDouble), 3);
    loss += distilled({.temperature = 2}, student[i], dense).loss / 2;
  }
  EXPECT_NEAR(loss, 0.3575618, 1e-6);
}

// Shares of draws: the mean gradient over the draws is that of the whole teacher.
TEST(Distillation, CountsHaveNoTail) {
  at::manual_seed(13);
  const Tensor z = at::randn({12}, at::kDouble);
  const Listed draws = {{2, 7, 9}, {std::log(0.5F), std::log(0.3F), std::log(0.2F)}};
  const auto got = distilled({.tail = Tail::counts}, values_of(z), draws);
  const Tensor q = at::softmax(z, 0);
  for (int j = 0; j < 12; ++j) {
    const double share = j == 2 ? 0.5 : j == 7 ? 0.3 : j == 9 ? 0.2 : 0.0;
    EXPECT_NEAR(got.gradient[j], q[j].item<double>() - share, 1e-7) << j;
  }
}

// Every divergence in the fused pass, with soft-cap, z-loss and format loss beside it.
TEST(TokenLoss, EveryDivergenceHasTheGradientOfAutograd) {
  at::manual_seed(14);
  std::vector<uint8_t> structural(70, 0);
  structural[5] = 1;
  for (const job::DistillationSpec& spec : every_spec()) {
    const Tensor z = (at::randn({70}, at::kFloat) * 4).to(at::kDouble).set_requires_grad(true);
    const Listed teacher = top_of(at::randn({70}, at::kDouble) * 3, 6);
    const Tensor capped = 8.0 * at::tanh(z / 8.0);
    const Tensor lse = at::logsumexp(capped, {0});
    const Tensor expected = (0.4 + 0.25) * -at::log_softmax(capped, 0)[5] + 1e-2 * lse * lse +
                            0.6 * defined_loss(spec, capped, teacher);
    expected.backward();
    std::vector<float> logits = floats_of(z);
    const LossSums sums = token_loss(
        logits.data(), 70,
        {.label = 5, .ids = teacher.ids.data(), .logprobs = teacher.logprobs.data(), .count = 6},
        {.ce = 0.4,
         .kd = 0.6,
         .z = 1e-2,
         .softcap = 8.0,
         .distillation = spec,
         .format = 0.25,
         .structural = structural},
        1.0F);
    // Floats of the fused pass, multiplied by tau^2 and by tau.
    const double tolerance = 1e-5 * (1 + spec.temperature * spec.temperature);
    EXPECT_NEAR(sums.weighted, expected.item<double>(), 2 * tolerance) << name_of(spec);
    EXPECT_EQ(sums.format, sums.ce);
    for (int j = 0; j < 70; ++j) {
      EXPECT_NEAR(logits[j], z.grad()[j].item<double>(), tolerance) << name_of(spec) << " at " << j;
    }
  }
}

// The mean over the teacher's draws of the sampled tail's gradient is that of the dense KL.
TEST(TokenLoss, TheSampledTailIsUnbiased) {
  at::manual_seed(15);
  const int64_t vocab = 24;
  const Tensor z = at::randn({vocab}, at::kFloat);
  const Tensor t = at::softmax(at::randn({vocab}, at::kDouble), 0);
  const Listed teacher = top_of(t.log(), 4);
  std::vector<double> mean(vocab);
  for (int64_t x = 0; x < vocab; ++x) {
    std::vector<float> logits = floats_of(z);
    token_loss(logits.data(), vocab,
               {.label = x,
                .ids = teacher.ids.data(),
                .logprobs = teacher.logprobs.data(),
                .count = 4,
                .sampled = true},
               {.ce = 0, .kd = 1, .z = 0, .distillation = {.tail = Tail::sampled}}, 1.0F);
    for (int j = 0; j < vocab; ++j) mean[j] += t[x].item<double>() * logits[j];
  }
  const Tensor dense = at::softmax(z.to(at::kDouble), 0) - t;
  for (int j = 0; j < vocab; ++j) EXPECT_NEAR(mean[j], dense[j].item<double>(), 2e-6) << j;
}

TEST(TokenLoss, ATailThatWasNotSampledIsTheBinOther) {
  const std::vector<float> z = {0.5F, -1, 2, 0, 1};
  const Listed teacher = {{0, 3}, {-.6F, -1.4F}};
  const TokenTargets foreign{
      .label = 2, .ids = teacher.ids.data(), .logprobs = teacher.logprobs.data(), .count = 2};
  std::vector<float> a = z;
  std::vector<float> b = z;
  token_loss(a.data(), 5, foreign, {.distillation = {.tail = Tail::sampled}}, 1.0F);
  token_loss(b.data(), 5, foreign, {}, 1.0F);
  EXPECT_EQ(a, b);
}

TEST(TokenLoss, StaysFiniteAtTheEdges) {
  const float inf = HUGE_VALF;
  const std::vector<std::vector<float>> students = {{300, -300, -300, -300, -300, -300},
                                                    {-300, 300, -300, -300, -300, -300},
                                                    {0, 0, 0, 0, 0, 0},
                                                    {1e30F, 0, -1e30F, 0, 0, 0},
                                                    {5, -inf, 1, -inf, -inf, -inf},
                                                    {-90, -90, 10, -90, -90, -90}};
  const std::vector<Listed> teachers = {{{0}, {0}},
                                        {{0, 1}, {0, -1e30F}},
                                        {{1, 0}, {-1e-4F, -1e30F}},
                                        {{0, 1}, {1e-4F, -9}},
                                        {{0, 1, 2, 3, 4, 5}, {-1e30F, 0, -40, -60, -80, -100}},
                                        {{4}, {-1e30F}}};
  std::vector<job::DistillationSpec> specs = every_spec();
  specs.push_back({.temperature = 100});
  specs.push_back({.tail = Tail::sampled});
  specs.push_back({.tail = Tail::counts});
  for (const job::DistillationSpec& spec : specs) {
    for (const auto& student : students) {
      for (const Listed& teacher : teachers) {
        std::vector<float> logits = student;
        const LossSums sums = token_loss(logits.data(), 6,
                                         {.label = 2,
                                          .ids = teacher.ids.data(),
                                          .logprobs = teacher.logprobs.data(),
                                          .count = teacher.ids.size(),
                                          .sampled = true},
                                         {.ce = 0, .kd = 1, .z = 0, .distillation = spec}, 1.0F);
        EXPECT_TRUE(std::isfinite(sums.kd)) << name_of(spec);
        for (const float slope : logits) {
          // The sampled tail's 1 at the label beside its share.
          EXPECT_LE(std::abs(slope), 110 * spec.temperature + 1) << name_of(spec);
        }
      }
    }
  }
}

// A step that cannot be computed must be seen, not hidden.
TEST(TokenLoss, ANanInTheLogitsIsANanInTheLoss) {
  const Listed teacher = {{0, 3}, {-.5F, -2}};
  for (const Divergence divergence : kAll) {
    std::vector<float> logits = {1, 2, 0, std::nanf("")};
    const LossSums sums = token_loss(
        logits.data(), 4,
        {.label = 1, .ids = teacher.ids.data(), .logprobs = teacher.logprobs.data(), .count = 2},
        {.distillation = {.divergence = divergence}}, 1.0F);
    EXPECT_TRUE(std::isnan(sums.weighted));
  }
}

}  // namespace
}  // namespace tristill::train
