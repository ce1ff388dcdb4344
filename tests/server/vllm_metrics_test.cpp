#include <gtest/gtest.h>

#include <map>
#include <sstream>

#include "server/ops/metrics.h"

namespace tristill::ops {
namespace {

class VllmNames : public ::testing::Test {
 protected:
  VllmNames() { metrics_.model("m"); }

  // The value of a sample whose labels after model_name are as given; -1 when it is absent.
  double value(const std::string& name, const std::string& more = "") {
    const std::string start = "\n" + name + "{" + more + "model_name=\"m\"} ";
    const std::string text = "\n" + metrics_.text();
    const size_t at = text.find(start);
    return at == std::string::npos ? -1 : std::stod(text.substr(at + start.size()));
  }
  double finished(const std::string& reason) {
    return value("vllm:request_success_total", "finished_reason=\"" + reason + "\",");
  }
  // The bounds of a histogram as they are exported, without +Inf.
  std::vector<double> bounds(const std::string& name) {
    std::vector<double> all;
    std::istringstream lines(metrics_.text());
    for (std::string line; std::getline(lines, line);) {
      const std::string start = name + "_bucket{model_name=\"m\",le=\"";
      if (!line.starts_with(start) || line.find("+Inf") != std::string::npos) continue;
      all.push_back(std::stod(line.substr(start.size())));
    }
    return all;
  }
  std::string type(const std::string& name) {
    const std::string text = metrics_.text();
    const std::string start = "# TYPE " + name + " ";
    const size_t at = text.find(start);
    if (at == std::string::npos) return "";
    return text.substr(at + start.size(), text.find('\n', at) - at - start.size());
  }

  Metrics metrics_;
};

RequestRecord request_of(std::vector<ChoiceRecord> choices) {
  return {.model = "m",
          .n = static_cast<uint32_t>(choices.size()),
          .max_tokens = 100,
          .prompt_tokens = 20,
          .cached_tokens = 16,
          .accepted_drafts = 3,
          .rejected_drafts = 4,
          .choices = std::move(choices),
          .status = 200,
          .total_ms = 900};
}

TEST_F(VllmNames, HaveTheirTypes) {
  const std::map<std::string, std::string> expected = {
      {"prompt_tokens_total", "counter"},
      {"generation_tokens_total", "counter"},
      {"request_success_total", "counter"},
      {"prefix_cache_queries_total", "counter"},
      {"prefix_cache_hits_total", "counter"},
      {"prompt_tokens_cached_total", "counter"},
      {"time_to_first_token_seconds", "histogram"},
      {"inter_token_latency_seconds", "histogram"},
      {"request_time_per_output_token_seconds", "histogram"},
      {"e2e_request_latency_seconds", "histogram"},
      {"request_queue_time_seconds", "histogram"},
      {"request_inference_time_seconds", "histogram"},
      {"request_prefill_time_seconds", "histogram"},
      {"request_decode_time_seconds", "histogram"},
      {"request_prompt_tokens", "histogram"},
      {"request_generation_tokens", "histogram"},
      {"request_params_n", "histogram"},
      {"request_params_max_tokens", "histogram"}};
  for (const auto& [name, kind] : expected) EXPECT_EQ(type("vllm:" + name), kind) << name;
}

TEST_F(VllmNames, HaveTheirBuckets) {
  EXPECT_EQ(bounds("vllm:time_to_first_token_seconds"),
            (std::vector<double>{.001, .005, .01, .02, .04, .06, .08, .1, .25, .5,  .75,
                                 1,    2.5,  5,   7.5, 10,  20,  40,  80, 160, 640, 2560}));
  const std::vector<double> between = {.0005, .001, .002, .005, .01, .025, .05, .075,
                                       .1,    .15,  .2,   .3,   .4,  .5,   .75, 1,
                                       2.5,   5,    7.5,  10,   20,  40,   80};
  EXPECT_EQ(bounds("vllm:inter_token_latency_seconds"), between);
  EXPECT_EQ(bounds("vllm:request_time_per_output_token_seconds"), between);
  const std::vector<double> latency = {.3, .5, .8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                                       30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680};
  for (const char* name : {"e2e_request_latency_seconds", "request_queue_time_seconds",
                           "request_inference_time_seconds", "request_prefill_time_seconds",
                           "request_decode_time_seconds"}) {
    EXPECT_EQ(bounds(std::string("vllm:") + name), latency) << name;
  }
  EXPECT_EQ(bounds("vllm:request_params_n"), (std::vector<double>{1, 2, 5, 10, 20}));
}

TEST_F(VllmNames, AreThereAtZeroBeforeTheFirstRequest) {
  EXPECT_EQ(value("vllm:prompt_tokens_total"), 0);
  EXPECT_EQ(value("vllm:e2e_request_latency_seconds_count"), 0);
  for (const char* reason : {"stop", "length", "abort", "error"}) EXPECT_EQ(finished(reason), 0);
}

TEST_F(VllmNames, CountARequestExactly) {
  metrics_.finished(request_of({{.finished_reason = FinishedReason::stop,
                                 .prompt_tokens = 20,
                                 .generated_tokens = 5,
                                 .queued_ms = 100,
                                 .prefill_ms = 200,
                                 .decode_ms = 400},
                                {.finished_reason = FinishedReason::length,
                                 .prompt_tokens = 20,
                                 .generated_tokens = 1,
                                 .queued_ms = 100,
                                 .prefill_ms = 600,
                                 .decode_ms = 0}}));
  EXPECT_EQ(finished("stop"), 1);
  EXPECT_EQ(finished("length"), 1);
  EXPECT_EQ(value("vllm:prompt_tokens_total"), 20);
  EXPECT_EQ(value("vllm:generation_tokens_total"), 6);
  EXPECT_EQ(value("vllm:prefix_cache_queries_total"), 20);
  EXPECT_EQ(value("vllm:prefix_cache_hits_total"), 16);
  EXPECT_EQ(value("vllm:prompt_tokens_cached_total"), 16);
  EXPECT_EQ(value("vllm:spec_decode_num_draft_tokens_total"), 7);
  EXPECT_EQ(value("vllm:spec_decode_num_accepted_tokens_total"), 3);
  EXPECT_EQ(value("vllm:e2e_request_latency_seconds_count"), 1);
  EXPECT_DOUBLE_EQ(value("vllm:e2e_request_latency_seconds_sum"), .9);
  EXPECT_EQ(value("vllm:request_params_n_count"), 1);
  EXPECT_EQ(value("vllm:request_params_n_sum"), 2);
  EXPECT_EQ(value("vllm:request_params_max_tokens_sum"), 200);
  EXPECT_DOUBLE_EQ(value("vllm:request_queue_time_seconds_sum"), .2);
  EXPECT_DOUBLE_EQ(value("vllm:request_prefill_time_seconds_sum"), .8);
  EXPECT_DOUBLE_EQ(value("vllm:request_decode_time_seconds_sum"), .4);
  EXPECT_DOUBLE_EQ(value("vllm:request_inference_time_seconds_sum"), 1.2);
  EXPECT_EQ(value("vllm:request_prompt_tokens_count"), 2);
  EXPECT_EQ(value("vllm:request_generation_tokens_sum"), 6);
  // One token has no time between tokens.
  EXPECT_EQ(value("vllm:request_time_per_output_token_seconds_count"), 1);
  EXPECT_DOUBLE_EQ(value("vllm:request_time_per_output_token_seconds_sum"), .1);
}

TEST_F(VllmNames, OfAClientThatLeftTheTokensCountAndTheTimesDoNot) {
  RequestRecord record = request_of({{.prompt_tokens = 20, .generated_tokens = 5}});
  record.cancelled = Phase::decode;
  metrics_.finished(record);
  EXPECT_EQ(finished("abort"), 1);
  EXPECT_EQ(value("vllm:generation_tokens_total"), 5);
  EXPECT_EQ(value("vllm:e2e_request_latency_seconds_count"), 0);
  EXPECT_EQ(value("vllm:request_decode_time_seconds_count"), 0);
  EXPECT_NE(metrics_.text().find(
                "tristill_requests_cancelled_total{model_name=\"m\",phase=\"decode\"} 1"),
            std::string::npos);
}

TEST_F(VllmNames, ARefusedRequestCountsNothing) {
  RequestRecord record = request_of({});
  record.prompt_tokens = 0;
  record.cached_tokens = record.accepted_drafts = record.rejected_drafts = 0;
  record.status = 429;
  metrics_.finished(record);
  record.model = "";  // none was found
  metrics_.finished(record);
  EXPECT_EQ(value("vllm:e2e_request_latency_seconds_count"), 0);
  EXPECT_EQ(metrics_.text().find("model_name=\"\""), std::string::npos);
}

TEST_F(VllmNames, GapsBetweenTokensAreOneLessThanTokens) {
  for (const uint32_t n : {1U, 5U, 9U}) {
    ChoiceTimer timer;
    for (uint32_t i = 1; i <= n; i += 2) timer.tokens(i, 0.1 * i, metrics_.model("m"));
  }
  for (const std::string prefix : {"vllm:", "tristill_"}) {
    EXPECT_EQ(value(prefix + "time_to_first_token_seconds_count"), 3);
    EXPECT_EQ(value(prefix + "inter_token_latency_seconds_count"), 0 + 4 + 8);
  }
}

}  // namespace
}  // namespace tristill::ops
