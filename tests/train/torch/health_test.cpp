#include "train/health.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/test_model.h"

namespace tristill::train {
namespace {

Student small_student() {
  ModelConfig config = test::random_model().config;
  config.n_layers = 1;
  return Student(config, true, at::kFloat, 3);
}

void scale_matrices(Student& student, double factor) {
  const torch::NoGradGuard no_grad;
  for (const NamedParameter& parameter : student.parameters()) {
    if (parameter.is_matrix) torch::Tensor(parameter.tensor).mul_(factor);
  }
  student.refresh();
}

bool has_alarm(const HealthReport& report, const std::string& words) {
  for (const std::string& alarm : report.alarms) {
    if (alarm.find(words) != std::string::npos) return true;
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
  Student student = small_student();
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

}  // namespace
}  // namespace tristill::train
