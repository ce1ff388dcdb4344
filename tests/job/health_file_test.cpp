#include "train/job/health_file.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace tristill::job {
namespace {

using nlohmann::json;

TEST(HealthFile, SaysHowFastAndHowLargeTheRunIs) {
  const HealthFile health{
      .step = 5, .grad_norm = 0.5, .tokens_per_second = 1000, .resident_bytes = 4096};
  const std::string text = format_health_file(health);
  const json out = json::parse(text);
  EXPECT_EQ(out.at("step"), 5);
  EXPECT_EQ(out.at("grad_norm"), 0.5);
  EXPECT_EQ(out.at("tokens_per_second"), 1000);
  EXPECT_EQ(out.at("resident_bytes"), 4096);
  EXPECT_TRUE(*read_healthy(text));
}

TEST(HealthFile, WhatIsNotKnownYetIsNull) {
  const json out = json::parse(format_health_file({}));
  for (const char* name : {"grad_norm", "tokens_per_second", "resident_bytes"}) {
    EXPECT_TRUE(out.at(name).is_null()) << name;
  }
}

TEST(HealthFile, ThoseOfEarlierVersionsAreRead) {
  EXPECT_TRUE(*read_healthy(R"({"step":3,"healthy":true,"lr":0.02})"));
  EXPECT_FALSE(*read_healthy(R"({"healthy":false})"));
  for (const char* wrong : {"", "{", "[]", "{}", R"({"healthy":1})"}) {
    EXPECT_FALSE(read_healthy(wrong)) << wrong;
  }
}

}  // namespace
}  // namespace tristill::job
