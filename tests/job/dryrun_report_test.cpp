#include "train/job/dryrun_report.h"

#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

namespace tristill::job {
namespace {

using nlohmann::json;

DryRunReport report() {
  DryRunReport made;
  made.device = "cuda:0";
  made.ranks = 4;
  made.predicted = {{"peak", 7}};
  made.phases = {{.name = "A8_forward",
                  .predicted_bytes = 10,
                  .measured_bytes = 11,
                  .resident_bytes = 12,
                  .largest_value = 1.5}};
  return made;
}

TEST(DryRunReport, SaysDeviceRanksAndEachKindOfMemory) {
  const json out = json::parse(format_dryrun_report(report()));
  EXPECT_EQ(out.at("device"), "cuda:0");
  EXPECT_EQ(out.at("ranks"), 4);
  const json& memory = out.at("runs").at(0).at("memory");
  EXPECT_EQ(memory.at("predicted_bytes"), 10);
  EXPECT_EQ(memory.at("measured_bytes"), 11);
  EXPECT_TRUE(memory.at("resident_before_bytes").is_null());
  EXPECT_EQ(memory.at("resident_bytes"), 12);
  EXPECT_EQ(out.at("runs").at(0).at("largest_logit"), 1.5);
}

TEST(DryRunReport, ComparesA4WithA8WhereBothAreThere) {
  DryRunReport made = report();
  EXPECT_TRUE(json::parse(format_dryrun_report(made)).at("a4_against_a8").is_null());
  made.a4_against_a8 = {.largest_difference = 0.25, .finite = true};
  const json both = json::parse(format_dryrun_report(made)).at("a4_against_a8");
  EXPECT_EQ(both, json({{"largest_difference", 0.25}, {"finite", true}}));
  made.a4_against_a8 = {.largest_difference = std::numeric_limits<double>::quiet_NaN(),
                        .finite = false};
  const json broken = json::parse(format_dryrun_report(made)).at("a4_against_a8");
  EXPECT_TRUE(broken.at("largest_difference").is_null());
  EXPECT_FALSE(broken.at("finite").get<bool>());
}

}  // namespace
}  // namespace tristill::job
