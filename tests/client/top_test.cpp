#include "client/top.h"

#include <gtest/gtest.h>

#include "base/utf8.h"

namespace tristill::client {
namespace {

using Json = nlohmann::json;

Reading reading(double seconds, const std::string& metrics, const char* slots = "null") {
  return {.seconds = seconds,
          .models = Json::parse(R"({"data": [{"id": "starter", "max_model_len": 1024}]})"),
          .slots = Json::parse(slots),
          .samples = parse_metrics(metrics)};
}

constexpr const char* kSlots = R"([
  {"id": 0, "is_processing": true, "n_prompt_tokens": 512, "n_prompt_tokens_processed": 100,
   "next_token": [{"n_decoded": 7, "n_remain": 121}]},
  {"id": 1, "is_processing": false}, 3])";

TEST(LoadOf, RatesAreDifferencesOverTime) {
  const Reading before = reading(10,
                                 "vllm:prompt_tokens_total{model_name=\"starter\"} 100\n"
                                 "vllm:generation_tokens_total{model_name=\"starter\"} 5\n");
  const Reading now = reading(12,
                              "vllm:prompt_tokens_total{model_name=\"starter\"} 300\n"
                              "vllm:generation_tokens_total{model_name=\"starter\"} 25\n"
                              "vllm:num_requests_running{model_name=\"starter\"} 2\n"
                              "vllm:num_requests_running{model_name=\"other\"} 9\n");
  const Load load = load_of(now, &before, nullptr);
  ASSERT_EQ(load.models.size(), 1U);
  EXPECT_EQ(load.models[0].prefill_per_second, 100);
  EXPECT_EQ(load.models[0].decode_per_second, 10);
  EXPECT_EQ(load.models[0].running, 2);
  EXPECT_EQ(load.models[0].waiting, std::nullopt);
  EXPECT_EQ(load_of(now, nullptr, nullptr).models[0].prefill_per_second, std::nullopt);
  EXPECT_EQ(load_of(before, &now, nullptr).models[0].prefill_per_second, std::nullopt);
}

TEST(LoadOf, ACounterThatBeganAgainHasNoRate) {
  const Reading before = reading(10, "vllm:prompt_tokens_total{model_name=\"starter\"} 100\n");
  const Reading now = reading(11, "vllm:prompt_tokens_total{model_name=\"starter\"} 3\n");
  EXPECT_EQ(load_of(now, &before, nullptr).models[0].prefill_per_second, std::nullopt);
}

TEST(LoadOf, TakesTheDaemonsOwnNamesWhereVllmsAreMissing) {
  const Load load = load_of(reading(1,
                                    "tristill_num_requests_waiting{model_name=\"starter\"} 4\n"
                                    "tristill_kv_cache_usage_ratio{model_name=\"starter\"} 0.25\n"),
                            nullptr, nullptr);
  EXPECT_EQ(load.models[0].waiting, 4);
  EXPECT_EQ(load.models[0].cache_share, 0.25);
}

TEST(LoadOf, LatenciesAreThoseOfTheWindow) {
  const auto metrics = [](int fast, int all) {
    return "vllm:time_to_first_token_seconds_bucket{le=\"0.01\"} " + std::to_string(fast) +
           "\nvllm:time_to_first_token_seconds_bucket{le=\"0.02\"} " + std::to_string(all) +
           "\nvllm:time_to_first_token_seconds_bucket{le=\"+Inf\"} " + std::to_string(all) + "\n";
  };
  const Reading since = reading(0, metrics(100, 100));
  const Reading now = reading(60, metrics(100, 104));
  const Load load = load_of(now, &since, &since);
  ASSERT_EQ(load.latencies.size(), 1U);
  EXPECT_EQ(load.latencies[0].count, 4);
  EXPECT_DOUBLE_EQ(*load.latencies[0].p50, 0.015);
  EXPECT_EQ(load_of(now, &since, nullptr).latencies[0].count, 104);
}

TEST(DrawLoad, ALatencyBelowTheFirstBoundIsShownAsThat) {
  const Load load = load_of(reading(1,
                                    "vllm:request_queue_time_seconds_bucket{le=\"0.3\"} 9\n"
                                    "vllm:request_queue_time_seconds_bucket{le=\"+Inf\"} 9\n"),
                            nullptr, nullptr);
  EXPECT_NE(draw_load(load, "", 99, 99).find("queue    < 300.0 ms  < 300.0 ms  9\n"),
            std::string::npos)
      << draw_load(load, "", 99, 99);
}

TEST(LoadOf, BusySlotsSayHowFarTheyAre) {
  const Load load = load_of(reading(1, "", kSlots), nullptr, nullptr);
  EXPECT_EQ(load.slots, 3U);
  ASSERT_EQ(load.busy.size(), 1U);
  EXPECT_EQ(load.busy[0].name, "0");
  EXPECT_EQ(load.busy[0].prompt_done, 100U);
  EXPECT_EQ(load.busy[0].decoded, 7U);
  EXPECT_EQ(load.busy[0].remaining, 121U);
}

TEST(LoadOf, OddAnswersAreNothing) {
  const Reading odd{.seconds = 0, .models = {}, .slots = Json::parse("{\"a\": 1}"), .samples = {}};
  const Load load = load_of(odd, &odd, &odd);
  EXPECT_TRUE(load.models.empty());
  EXPECT_TRUE(load.busy.empty());
}

TEST(DrawLoad, FitsTheScreenAndCannotDriveIt) {
  Reading now = reading(1, "", kSlots);
  now.models["data"][0]["id"] = "evil\x1b[2J";
  const Load load = load_of(now, nullptr, nullptr);
  for (size_t width = 1; width < 120; width += 7) {
    const std::string text = draw_load(load, "title \x07", width, 5);
    EXPECT_EQ(text.find('\x1b'), std::string::npos);
    EXPECT_EQ(text.find('\x07'), std::string::npos);
    size_t lines = 0;
    for (size_t at = 0; at < text.size(); ++lines) {
      const size_t end = text.find('\n', at);
      EXPECT_LE(utf8_length(std::string_view(text).substr(at, end - at)), width);
      at = end + 1;
    }
    EXPECT_EQ(lines, 5U);
  }
}

TEST(DrawLoad, ShowsModelsLatenciesAndSlots) {
  EXPECT_EQ(draw_load(load_of(reading(1, "", kSlots), nullptr, nullptr), "title", 200, 99),
            "title\n\n"
            "MODEL    CONTEXT  RUNNING  WAITING  CACHE  HITS  PREFILL/S  DECODE/S\n"
            "starter  1024\n\n"
            "1 of 3 slots are busy\n"
            "SLOT  PROMPT   WRITTEN  LEFT\n"
            "0     100/512  7        121\n");
}

}  // namespace
}  // namespace tristill::client
