#include "train/health.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/test_model.h"
#include "train/run/health_guard.h"

namespace tristill::train {
namespace {

Student small_student(job::WeightRule weights = job::WeightRule::absmean) {
  ModelConfig config = test::random_model().config;
  config.n_layers = 1;
  return Student(config, true, at::kFloat, 3, ternary_rule({.weights = weights}));
}

void scale_matrices(Student& student, double factor) {
  const torch::NoGradGuard no_grad;
  for (const NamedParameter& parameter : student.parameters()) {
    if (parameter.is_matrix) torch::Tensor(parameter.tensor).mul_(factor);
  }
  student.refresh();
}

bool has_alarm(const HealthReport& report, const std::string& words) {
  for (const job::HealthAlarm& alarm : report.alarms) {
    if (alarm.code == words || alarm.message.find(words) != std::string::npos) return true;
  }
  return false;
}

TEST(HealthMonitor, GaussianWeightsHaveTheZeroFractionOfTheirShape) {
  HealthMonitor monitor;
  const HealthReport report = monitor.look(small_student(), {.step = 1});
  EXPECT_NEAR(report.numbers.at("zero_fraction"), 0.310, 0.01);  // P(|w| < 0.399 sigma)
  EXPECT_TRUE(report.alarms.empty());
}

TEST(HealthMonitor, CountsTheValuesThatFlipEachStep) {
  Student student = small_student();
  HealthMonitor monitor;
  monitor.look(student, {.step = 10});
  EXPECT_EQ(monitor.look(student, {.step = 20}).numbers.at("flip_rate"), 0);
  {
    const torch::NoGradGuard no_grad;
    for (const NamedParameter& parameter : student.parameters()) {
      if (parameter.is_matrix) torch::Tensor(parameter.tensor).neg_();
    }
    student.refresh();
  }
  const double rate = monitor.look(student, {.step = 30}).numbers.at("flip_rate");
  EXPECT_NEAR(rate, (1.0 - 0.310) / 10, 0.005);  // all that are not zero, in ten steps
}

// The seeds' collapse: weights that get no gradient shrink by exactly lr * weight_decay a step.
TEST(HealthMonitor, WeightsThatOnlyDecayRaiseTheAlarmWithin200Steps) {
  for (const auto weights : {job::WeightRule::absmean, job::WeightRule::seq}) {
    Student student = small_student(weights);  // a learned scale stands still
    HealthMonitor monitor;
    const double decay = 0.02 * 0.1;
    int64_t fired = -1;
    for (int64_t step = 10; step <= 200 && fired < 0; step += 10) {
      scale_matrices(student, std::pow(1.0 - decay, 10));
      const auto report = monitor.look(student, {.step = step, .decay_per_step = decay});
      if (has_alarm(report, "weight decay alone")) fired = step;
    }
    EXPECT_GT(fired, 50);
    EXPECT_LE(fired, 200);
  }
}

// Under a learned scale latents that shrink do become zeros.
TEST(HealthMonitor, WeightsFarBelowTheirLearnedScaleAreNamed) {
  Student student = small_student(job::WeightRule::lsq);
  HealthMonitor monitor;
  EXPECT_TRUE(monitor.look(student, {.step = 1}).alarms.empty());
  scale_matrices(student, 0.2);
  const auto report = monitor.look(student, {.step = 2});
  EXPECT_GT(report.numbers.at("zero_fraction"), 0.9);
  EXPECT_TRUE(has_alarm(report, "zero_fraction"));
}

TEST(HealthMonitor, GradientsThatARuleClipsAreNotCountedAsDead) {
  HealthMonitor monitor;
  const HealthInputs inputs{.step = 1, .zero_gradients = 0.6};
  EXPECT_TRUE(has_alarm(monitor.look(small_student(), inputs), "zero_gradients"));
  const auto report = HealthMonitor().look(small_student(job::WeightRule::lsq), inputs);
  EXPECT_NEAR(report.numbers.at("clipped"), 0.425, 0.01);  // P(|w| > 0.798 sigma)
  EXPECT_FALSE(has_alarm(report, "zero_gradients"));
}

TEST(HealthMonitor, WeightsThatLearnRaiseNoAlarm) {
  Student student = small_student();
  HealthMonitor monitor;
  for (int64_t step = 10; step <= 300; step += 10) {
    scale_matrices(student, 1.001);
    EXPECT_TRUE(monitor.look(student, {.step = step, .decay_per_step = 0.002}).alarms.empty());
  }
}

TEST(HealthMonitor, LossesThatAreNotFiniteAndDeadGradientsAreNamed) {
  HealthMonitor monitor;
  const auto report =
      monitor.look(small_student(), {.step = 1, .zero_gradients = 0.9, .loss = std::nan("")});
  EXPECT_TRUE(has_alarm(report, "not finite"));
  EXPECT_TRUE(has_alarm(report, "exactly zero"));
}

TEST(HealthMonitor, ABranchThatAddsNothingIsNamedByItsBlock) {
  Student student = small_student();
  {
    const torch::NoGradGuard no_grad;
    student.blocks()[0].ffn_sub_norm.mul_(1e-12);
  }
  student.record_gains(true);
  const torch::NoGradGuard no_grad;
  student.hidden(at::zeros({1, 16}, at::kLong), at::zeros({1, 16}, at::kInt));
  HealthMonitor monitor;
  EXPECT_TRUE(has_alarm(monitor.look(student, {.step = 1}), "block 0 mlp"));
}

// A matrix whose size happens to fall as fast as decay asks is no collapse; one that does so look
// after look is, and until it is told no checkpoint counts as healthy.
TEST(HealthMonitor, OneLookAtTheRateOfDecayIsChanceAndSuspicionComesBeforeTheAlarm) {
  Student student = small_student();
  HealthMonitor monitor;
  const double decay = 0.002;
  for (int64_t step = 10; step <= 300; step += 10) {
    scale_matrices(student, step % 20 == 0 ? std::pow(1.0 - decay, 10) : 1.01);
    const auto report = monitor.look(student, {.step = step, .decay_per_step = decay});
    EXPECT_FALSE(has_alarm(report, "decay_only"));
    EXPECT_FALSE(report.suspicious) << step;
  }
  bool suspected = false;
  for (int64_t step = 310; step <= 390; step += 10) {
    scale_matrices(student, std::pow(1.0 - decay, 10));
    suspected = monitor.look(student, {.step = step, .decay_per_step = decay}).suspicious;
  }
  EXPECT_TRUE(suspected);
}

TEST(HealthMonitor, TernaryWeightsThatStandStillAtAFullRateAreNamed) {
  Student student = small_student();
  HealthMonitor monitor;
  monitor.look(student, {.step = 10, .lr = 0.02});
  const auto report = monitor.look(student, {.step = 20, .lr = 0.02});
  EXPECT_GT(report.numbers.at("flip_rate_expected"), 1e-4);
  EXPECT_TRUE(has_alarm(report, "dead_flips"));
  EXPECT_TRUE(monitor.look(student, {.step = 30, .lr = 0}).alarms.empty());  // nothing is expected
}

// Independent steps of angle theta flip 0.588 theta of Gaussian latents.
TEST(HealthMonitor, TheExpectedFlipRateIsThatOfRandomSteps) {
  ModelConfig config = test::random_model().config;
  config.n_layers = 1;
  Student student(config, true, at::kFloat, 3);
  HealthMonitor monitor;
  monitor.look(student, {.step = 1, .kind = job::OptimizerKind::adamw, .lr = 1e-3});
  at::manual_seed(1);
  {
    const torch::NoGradGuard no_grad;
    for (const NamedParameter& parameter : student.parameters()) {
      if (!parameter.is_matrix) continue;
      torch::Tensor(parameter.tensor).add_(at::randn_like(parameter.tensor), 1e-3);
    }
    student.refresh();
  }
  const auto report =
      monitor.look(student, {.step = 2, .kind = job::OptimizerKind::adamw, .lr = 1e-3});
  const double expected = report.numbers.at("flip_rate_expected");
  EXPECT_NEAR(report.numbers.at("flip_rate") / expected, 1.0, 0.15);
}

TEST(HealthMonitor, WeightsThatAreAllNewWithinAFewStepsAreNamedButStopNothing) {
  Student student = small_student();
  HealthMonitor monitor;
  monitor.look(student, {.step = 10, .lr = 0.02});
  {
    const torch::NoGradGuard no_grad;
    for (const NamedParameter& parameter : student.parameters()) {
      if (parameter.is_matrix) torch::Tensor(parameter.tensor).neg_();
    }
    student.refresh();
  }
  const auto report = monitor.look(student, {.step = 20, .lr = 0.02});
  ASSERT_TRUE(has_alarm(report, "too_many_flips"));
  EXPECT_FALSE(report.alarms[0].stops);
}

TEST(HealthMonitor, TellsEachMatrixByItsNameInTheModelFile) {
  const Student student = small_student();
  HealthMonitor monitor;
  const auto report = monitor.look(student, {.step = 1});
  ASSERT_EQ(report.matrices.size(), 7U);
  EXPECT_EQ(report.matrices[3].name, "blk.0.attn_output.weight");
  double least = 1e9;
  for (const job::MatrixHealth& matrix : report.matrices) {
    EXPECT_NEAR(matrix.zero_fraction + 2 * matrix.plus_fraction, 1, 0.1);
    least = std::min(least, matrix.std);
  }
  EXPECT_EQ(report.numbers.at("std_min"), least);
  EXPECT_GE(report.numbers.at("std_median"), least);
}

class HealthGuardTest : public ::testing::Test {
 protected:
  // Looks each ten steps at weights that only decay; the step of the verdict, or -1.
  int64_t steps_to_verdict(HealthGuard& guard) {
    for (int64_t step = 1; step <= 300; ++step) {
      scale_matrices(student_, 1.0 - 0.002);
      EXPECT_TRUE(guard.count(3.0, 1.0, 0.02, 0.002));
      if (step % 10 == 0) guard.look(student_, step, 0, 3.0);
      if (guard.verdict()) return step;
    }
    return -1;
  }
  Student student_ = small_student();
  job::TrainSpec spec_;
};

TEST_F(HealthGuardTest, AnAlarmThatStandsEndsTheRunWithin200Steps) {
  HealthGuard guard(spec_);
  const int64_t step = steps_to_verdict(guard);
  EXPECT_GT(step, 0);
  EXPECT_LE(step, 200);
  EXPECT_FALSE(guard.file().healthy);
  ASSERT_FALSE(guard.file().alarms.empty());
}

TEST_F(HealthGuardTest, ToWarnIsNotToStop) {
  spec_.health.action = job::HealthAction::warn;
  HealthGuard guard(spec_);
  EXPECT_EQ(steps_to_verdict(guard), -1);
}

TEST_F(HealthGuardTest, StepsThatAreNotFiniteStopARunOrFailIt) {
  HealthGuard stops(spec_);
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(stops.count(std::nan(""), 1, 0.02, 0));
  ASSERT_TRUE(stops.verdict());
  EXPECT_EQ(stops.verdict()->code, "not_finite");
  EXPECT_EQ(stops.file().skipped_steps, 5);
  spec_.health.action = job::HealthAction::warn;
  HealthGuard fails(spec_);
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(fails.count(1, HUGE_VAL, 0.02, 0));
  const auto failed = fails.count(1, HUGE_VAL, 0.02, 0);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().param, "optimizer.lr");
}

TEST_F(HealthGuardTest, ItsCountsComeBack) {
  HealthGuard first(spec_);
  EXPECT_TRUE(first.count(4, 1, 0.02, 0));
  EXPECT_TRUE(first.count(3, 1, 0.02, 0));
  EXPECT_TRUE(first.count(std::nan(""), 1, 0.02, 0));
  HealthGuard second(spec_);
  std::map<std::string, torch::Tensor> saved;
  first.save_state(saved);
  second.load_state(saved);
  EXPECT_FALSE(second.file().healthy);  // the last step was not finite
  EXPECT_EQ(second.file().skipped_steps, 1);
  EXPECT_NEAR(second.file().loss_ema, 3.98, 1e-9);
}

TEST_F(HealthGuardTest, ItsFileSaysHowFastAndHowLargeTheRunIs) {
  HealthGuard guard(spec_);
  EXPECT_TRUE(std::isnan(guard.file().grad_norm));
  EXPECT_TRUE(std::isnan(guard.file().tokens_per_second));
  EXPECT_TRUE(guard.count(4, 0.75, 0.02, 0));
  guard.note_speed(1234);
  EXPECT_EQ(guard.file().grad_norm, 0.75);
  EXPECT_EQ(guard.file().tokens_per_second, 1234);
  EXPECT_GT(guard.file().resident_bytes, 1U << 20);
}

TEST_F(HealthGuardTest, AnAlarmStandsOnThroughAResumption) {
  HealthGuard first(spec_);
  first.look(student_, 10, 0, std::nan(""));
  EXPECT_FALSE(first.verdict());
  std::map<std::string, torch::Tensor> saved;
  first.save_state(saved);
  HealthGuard resumed(spec_);
  resumed.load_state(saved);
  EXPECT_FALSE(resumed.file().healthy);
  const int64_t patience = spec_.health.patience_steps;
  resumed.look(student_, 10 + patience, 0, std::nan(""));
  ASSERT_TRUE(resumed.verdict());
  EXPECT_EQ(resumed.verdict()->code, "not_finite");
  HealthGuard fresh(spec_);
  fresh.look(student_, 10 + patience, 0, std::nan(""));
  EXPECT_FALSE(fresh.verdict());
}

}  // namespace
}  // namespace tristill::train
