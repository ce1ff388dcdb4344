#include "client/duration.h"

#include <gtest/gtest.h>

namespace tristill::client {
namespace {

TEST(ParseDuration, TakesANumberAndAUnit) {
  EXPECT_EQ(*parse_duration("90s"), 90);
  EXPECT_EQ(*parse_duration("15m"), 900);
  EXPECT_EQ(*parse_duration("12h"), 43200);
  EXPECT_EQ(*parse_duration("30d"), 2592000);
  EXPECT_EQ(*parse_duration("8w"), 4838400);
}

TEST(ParseDuration, RefusesTheRest) {
  for (const char* text : {"", "d", "3", "0s", "-1s", "1.5h", "1y", "1dd", "99999999999999999999s",
                           "100001w", " 1s"}) {
    EXPECT_FALSE(parse_duration(text)) << text;
  }
}

}  // namespace
}  // namespace tristill::client
