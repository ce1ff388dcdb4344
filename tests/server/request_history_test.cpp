#include "server/ops/request_history.h"

#include <gtest/gtest.h>

namespace tristill::ops {
namespace {

RequestRecord record_of(const std::string& id) {
  return {.request_id = id, .endpoint = "/v1/completions", .model = "m", .prompt_tokens = 3};
}

ChoiceRecord choice_of(FinishedReason reason, uint32_t generated = 5) {
  return {.finished_reason = reason, .prompt_tokens = 3, .generated_tokens = generated};
}

class History : public ::testing::Test {
 protected:
  void end(const std::string& id) {
    OngoingRequest ongoing(history_, record_of(id));
    ongoing.record.status = 200;
    ongoing.finish();
  }
  bool counts(const std::string& sample) {
    return ("\n" + metrics_.text()).find("\n" + sample + "\n") != std::string::npos;
  }

  Metrics metrics_;
  RequestHistory history_{metrics_, 3};
};

TEST_F(History, ARunningRequestIsSeenAsItWasLastUpdated) {
  OngoingRequest ongoing(history_, record_of("a"));
  ASSERT_TRUE(history_.find("a"));
  EXPECT_FALSE(history_.find("a")->record.finished);
  EXPECT_GT(history_.find("a")->record.started_unix_ms, 1700000000000);
  ongoing.record.choices = {choice_of(FinishedReason::abort, 7)};
  EXPECT_EQ(history_.find("a")->generated_tokens, 0U);
  ongoing.update();
  EXPECT_EQ(history_.find("a")->generated_tokens, 7U);
  EXPECT_TRUE(history_.find("a")->finished.empty());
}

TEST_F(History, AFinishedRequestStaysWithItsEnd) {
  {
    OngoingRequest ongoing(history_, record_of("a"));
    ongoing.record.status = 200;
    ongoing.record.choices = {choice_of(FinishedReason::stop), choice_of(FinishedReason::stop),
                              choice_of(FinishedReason::length)};
    ongoing.finish();
  }
  const auto kept = history_.find("a");
  ASSERT_TRUE(kept);
  EXPECT_TRUE(kept->record.finished);
  EXPECT_EQ(kept->record.status, 200);
  EXPECT_EQ(kept->finished.at(FinishedReason::stop), 2U);
  EXPECT_EQ(kept->finished.at(FinishedReason::length), 1U);
  EXPECT_EQ(kept->generated_tokens, 15U);
}

TEST_F(History, IsBoundedAndListsTheNewestFirst) {
  OngoingRequest ongoing(history_, record_of("running"));
  for (const char* id : {"a", "b", "c", "d"}) end(id);
  EXPECT_FALSE(history_.find("a"));
  std::string ids;
  for (const auto& kept : history_.list(100)) ids += kept.record.request_id + " ";
  EXPECT_EQ(ids, "running d c b ");
  EXPECT_EQ(history_.list(2).size(), 2U);
  EXPECT_TRUE(history_.list(0).empty());
}

TEST_F(History, OfOneIdTheNewestIsFound) {
  end("same");
  OngoingRequest ongoing(history_, record_of("same"));
  EXPECT_FALSE(history_.find("same")->record.finished);
}

TEST_F(History, KeepsFewChoicesAndCountsAll) {
  OngoingRequest ongoing(history_, record_of("a"));
  ongoing.record.choices.assign(128, choice_of(FinishedReason::stop));
  ongoing.finish();
  EXPECT_EQ(history_.find("a")->record.choices.size(), kHistoryChoices);
  EXPECT_EQ(history_.find("a")->generated_tokens, 128U * 5);
  EXPECT_EQ(history_.find("a")->finished.at(FinishedReason::stop), 128U);
}

TEST_F(History, ARequestThatIsForgottenEndsAsFailed) {
  { OngoingRequest ongoing(history_, record_of("a")); }
  EXPECT_TRUE(history_.find("a")->record.finished);
  EXPECT_EQ(history_.find("a")->record.status, 500);
}

TEST_F(History, ARequestCountsOnce) {
  {
    OngoingRequest ongoing(history_, record_of("a"));
    ongoing.record.choices = {choice_of(FinishedReason::stop)};
    ongoing.finish();
    ongoing.finish();
  }
  EXPECT_TRUE(counts("tristill_generation_tokens_total{model_name=\"m\"} 5"));
  EXPECT_EQ(history_.list(100).size(), 1U);
}

TEST(ServerTiming, IsOfTheSlowestChoice) {
  RequestRecord record;
  EXPECT_EQ(server_timing(record), "queue;dur=0.0, prefill;dur=0.0, decode;dur=0.0");
  record.choices = {{.queued_ms = 1, .prefill_ms = 2, .decode_ms = 3},
                    {.queued_ms = 0.26, .prefill_ms = 12.5, .decode_ms = 45}};
  EXPECT_EQ(server_timing(record), "queue;dur=0.3, prefill;dur=12.5, decode;dur=45.0");
}

}  // namespace
}  // namespace tristill::ops
