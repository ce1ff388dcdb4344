// Lines of workers and of teachers that must be refused.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "train/job/event.h"
#include "train/trace/jsonl.h"

namespace tristill {
namespace {

using nlohmann::json;

json event_json() {
  return {{"type", "metrics"}, {"level", "info"},       {"time", 1.5},
          {"message", "m"},    {"numbers", {{"x", 1}}}, {"texts", {{"k", "v"}}}};
}

TEST(EventLine, WhatIsMissingOrOfAnotherTypeIsNamed) {
  ASSERT_TRUE(job::parse_event(event_json().dump()));
  for (const char* key : {"type", "level", "time", "message", "numbers", "texts"}) {
    for (const json& bad : {json(true), json::array(), json(json::array({1}))}) {
      json event = event_json();
      event[key] = bad;
      const auto refused = job::parse_event(event.dump());
      ASSERT_FALSE(refused) << key;
      EXPECT_EQ(refused.error().code, ErrorCode::corrupt);
      EXPECT_NE(refused.error().message.find(key), std::string::npos) << refused.error().message;
    }
  }
  for (const char* key : {"type", "level", "time"}) {
    json event = event_json();
    event.erase(key);
    EXPECT_FALSE(job::parse_event(event.dump())) << key;
  }
  json event = event_json();
  event["numbers"]["x"] = "many";
  EXPECT_NE(job::parse_event(event.dump()).error().message.find("numbers.x"), std::string::npos);
  event = event_json();
  event["texts"]["k"] = 3;
  EXPECT_NE(job::parse_event(event.dump()).error().message.find("texts.k"), std::string::npos);
}

TEST(EventLine, TornLinesAreRefused) {
  const std::string whole = event_json().dump();
  for (size_t n = 0; n < whole.size(); ++n) EXPECT_FALSE(job::parse_event(whole.substr(0, n))) << n;
}

TEST(EventLine, TextThatIsNotUtf8StillMakesALine) {
  const std::string line = job::format_event({.message = "a\xff b", .texts = {{"k", "\xc3"}}});
  const auto event = job::parse_event(line);
  ASSERT_TRUE(event) << event.error().message;
  EXPECT_EQ(event->message, "a\xEF\xBF\xBD b");
}

json record_json() {
  return {{"tokenizer", std::string(64, '0')},
          {"sampling", "t1"},
          {"tokens", {1, 2, 3}},
          {"top_logprobs", {nullptr, json::array({json::array({2, -0.5})}), nullptr}}};
}

std::string refused_param(const json& record) {
  const auto parsed = trace::parse_record(record.dump());
  EXPECT_TRUE(parsed || parsed.error().code == ErrorCode::invalid_argument);
  return parsed ? "" : parsed.error().param;
}

TEST(TraceLineFields, TokensAreWholeNumbersThatFit) {
  ASSERT_EQ(refused_param(record_json()), "");
  for (const json& bad :
       {json(-1), json(1.0), json("1"), json(int64_t{1} << 31), json(UINT64_MAX), json(nullptr)}) {
    json record = record_json();
    record["tokens"][2] = bad;
    EXPECT_EQ(refused_param(record), "tokens[2]") << bad;
    record = record_json();
    record["top_logprobs"][1][0][0] = bad;
    EXPECT_EQ(refused_param(record), "top_logprobs[1][0]") << bad;
  }
}

TEST(TraceLineFields, LogprobsAreFiniteNotAboveZeroAndAtMost64) {
  for (const json& bad : {json(0.01), json(-1e300), json(1e300), json("x"), json(nullptr)}) {
    json record = record_json();
    record["top_logprobs"][1][0][1] = bad;
    EXPECT_EQ(refused_param(record), "top_logprobs[1][0]") << bad;
  }
  json record = record_json();
  for (const int n : {64, 65}) {
    json list = json::array();
    for (int i = 0; i < n; ++i) list.push_back({i, -10});
    record["top_logprobs"][1] = list;
    EXPECT_EQ(refused_param(record), n == 64 ? "" : "top_logprobs[1]");
  }
  record["top_logprobs"][1] = {{1, -0.1}, {2, -0.1}};
  EXPECT_EQ(refused_param(record), "top_logprobs[1]");
  record["top_logprobs"][1] = {{1, -0.1, 0}};
  EXPECT_EQ(refused_param(record), "top_logprobs[1][0]");
}

TEST(TraceLineFields, ACertainTeacherMayRoundAboveZero) {
  json record = record_json();
  record["top_logprobs"][1] = json::array({json::array({2, 5e-5})});
  const auto parsed = trace::parse_record(record.dump());
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_EQ(parsed->top_logprobs[1][0].logprob, 0);
}

TEST(TraceLineFields, TheTokenizerIsAFingerprint) {
  for (const std::string& bad : {std::string(63, 'a'), std::string(65, 'a'), std::string(64, 'A'),
                                 std::string(64, 'g'), std::string()}) {
    json record = record_json();
    record["tokenizer"] = bad;
    EXPECT_EQ(refused_param(record), "tokenizer") << bad;
  }
  json record = record_json();
  record["teacher"] = std::string(257, 't');
  EXPECT_EQ(refused_param(record), "teacher");
}

TEST(TraceLineFields, NumbersComeBackBitForBit) {
  json record = record_json();
  record["top_logprobs"][1][0][1] = -0.1;
  const auto first = trace::parse_record(record.dump());
  ASSERT_TRUE(first);
  const auto second = trace::parse_record(trace::format_record(*first));
  ASSERT_TRUE(second);
  EXPECT_EQ(second->top_logprobs[1][0].logprob, -0.1F);
}

}  // namespace
}  // namespace tristill
