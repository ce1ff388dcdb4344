#include "client/watch.h"

#include <gtest/gtest.h>

namespace tristill::client {
namespace {

using Json = nlohmann::json;

TEST(ApplyEvent, ProgressAndMetricsFillOneLine) {
  ProgressLine line;
  apply_event(Json::parse(R"({"type": "progress", "data": {"phase": "train", "fraction": 0.5,
                              "eta_seconds": 12, "step": 10, "total_steps": 20}})"),
              line);
  apply_event(Json::parse(R"({"type": "metrics", "data": {"step": 11, "loss": 2.5,
                      "tokens_per_second": 900}})"),
              line);
  EXPECT_EQ(format_progress_words(line), "train 50.0% step 11/20 loss 2.5000 900 tok/s eta 12s");
}

TEST(ApplyEvent, ANewPhaseWithoutAnEtaForgetsTheOldOne) {
  ProgressLine line;
  line.phase = "train";
  line.fraction = 1.0;
  line.eta_seconds = 3;
  apply_event(Json::parse(R"({"type": "progress", "data": {"phase": "export"}})"), line);
  EXPECT_EQ(format_progress_words(line), "export");
}

TEST(ApplyEvent, OtherAndOddEventsChangeNothing) {
  ProgressLine line;
  apply_event(Json::parse(R"({"type": "log", "data": {"loss": 1}})"), line);
  apply_event(Json::parse(R"({"type": "metrics", "data": {"loss": "nan", "step": -4}})"), line);
  apply_event(Json::parse(R"({"type": "metrics"})"), line);
  apply_event(Json::parse(R"([1, 2])"), line);
  EXPECT_EQ(format_progress_words(line), "");
}

TEST(ExitOfJob, FollowsTheOutcome) {
  EXPECT_EQ(exit_of_job(Json::parse(R"({"status": "succeeded"})")), kExitOk);
  EXPECT_EQ(exit_of_job(Json::parse(R"({"status": "cancelled"})")), kExitInterrupted);
  EXPECT_EQ(exit_of_job(Json::parse(R"({"status": "paused"})")), kExitInterrupted);
  EXPECT_EQ(exit_of_job(Json::parse(R"({"status": "failed",
                                        "error": {"code": "resource_exhausted"}})")),
            kExitResource);
  EXPECT_EQ(exit_of_job(Json::parse(R"({"status": "failed", "error": {"code": "corrupt"}})")),
            kExitData);
  EXPECT_EQ(exit_of_job(Json::parse(R"({"status": "failed", "error": null})")), kExitDefect);
}

TEST(IsFinalStatus, OnlyForEndedJobs) {
  for (const char* status : {"succeeded", "failed", "cancelled"}) {
    EXPECT_TRUE(is_final_status(status)) << status;
  }
  for (const char* status : {"queued", "running", "pausing", "paused", "cancelling", ""}) {
    EXPECT_FALSE(is_final_status(status)) << status;
  }
}

}  // namespace
}  // namespace tristill::client
