// Whole dry runs, and what their report says.
#include <nlohmann/json.hpp>

#include "base/atomic_file.h"
#include "tests/train/torch/run_fixture.h"
#include "train/run/dryrun.h"

namespace tristill::train {
namespace {

class DryRunTest : public RunTest {
 protected:
  job::TrainSpec spec() const {
    job::TrainSpec made = job(1).train();
    made.device = job::TrainDevice::cpu;
    return made;
  }

  nlohmann::json report_of(const job::TrainSpec& tried,
                           job::DryRunMeasure measure = job::DryRunMeasure::run) {
    job::JobFile file;
    job::DryRunSpec dry;
    dry.job = tried;
    dry.measure = measure;
    file.spec = dry;
    EventLog events(place_.events());
    const std::atomic<bool> stop{false};
    const auto done = run_dryrun(place_, file, events, stop);
    EXPECT_TRUE(done) << done.error().message;
    if (!done) return {};
    return nlohmann::json::parse(*read_file(place_.dryrun_report()));
  }

  job::JobDirectory place_ = directory("dry");
};

TEST_F(DryRunTest, ComparesTheLogitsOfA4WithThoseOfA8) {
  const auto report = report_of(spec());
  const auto& compared = report.at("a4_against_a8");
  EXPECT_GT(compared.at("largest_difference").get<double>(), 0);
  EXPECT_TRUE(compared.at("finite").get<bool>());
  const auto events = read_file(place_.events());
  ASSERT_TRUE(events);
  EXPECT_NE(events->find("A4_against_A8_largest_difference"), std::string::npos);
  EXPECT_NE(events->find("logits of A4 differ from those of A8"), std::string::npos);
}

TEST_F(DryRunTest, SaysWhereItComputedAndWhatTheProcessHeld) {
  const auto report = report_of(spec());
  EXPECT_EQ(report.at("device"), "cpu");
  EXPECT_EQ(report.at("ranks"), 1);
  ASSERT_EQ(report.at("runs").size(), 3U);
  for (const auto& phase : report.at("runs")) {
    const auto& memory = phase.at("memory");
    EXPECT_GT(memory.at("resident_before_bytes").get<uint64_t>(), 1U << 20) << phase;
    EXPECT_GT(memory.at("resident_bytes").get<uint64_t>(),
              memory.at("measured_bytes").get<uint64_t>())
        << phase;
  }
}

TEST_F(DryRunTest, OnlyToAccountIsToCompareNothing) {
  const auto report = report_of(spec(), job::DryRunMeasure::account);
  EXPECT_TRUE(report.at("runs").empty());
  EXPECT_TRUE(report.at("a4_against_a8").is_null());
  EXPECT_EQ(report.at("device"), "cpu");
}

TEST_F(DryRunTest, OfSeveralRanksOneIsPredictedAndTried) {
  job::TrainSpec tried = spec();
  tried.micro_batches = 4;
  const auto alone = report_of(tried);
  tried.ranks = 2;
  const auto shared = report_of(tried);
  const auto predicted = [](const nlohmann::json& report, const char* what) {
    return report.at("predicted_bytes").at(what).get<uint64_t>();
  };
  EXPECT_EQ(shared.at("ranks"), 2);
  EXPECT_LT(predicted(shared, "optimizer"), predicted(alone, "optimizer"));
  EXPECT_EQ(predicted(shared, "latents"), predicted(alone, "latents"));
  EXPECT_EQ(predicted(alone, "exchange"), 0U);
  EXPECT_GT(predicted(shared, "exchange"), 0U);
  const auto& step = shared.at("runs").back();
  EXPECT_EQ(step.at("phase"), "training_step");
  EXPECT_EQ(step.at("tokens"), tried.batch_tokens / 2);
  EXPECT_TRUE(step.at("finite").get<bool>());
}

}  // namespace
}  // namespace tristill::train
