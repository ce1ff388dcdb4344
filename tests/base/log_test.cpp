#include "base/log.h"

#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <vector>

namespace tristill {
namespace {

using Fields = std::vector<LogField>;

std::string human(const Fields& fields) { return log_line(LogFormat::human, "event", fields); }

nlohmann::json object(const Fields& fields) {
  const std::string line = log_line(LogFormat::json, "event", fields);
  EXPECT_EQ(line.find('\n'), std::string::npos) << line;
  return nlohmann::json::parse("{" + line + "}", nullptr, false);
}

TEST(Log, HumanLinesQuoteWhatWouldBreakThem) {
  EXPECT_EQ(human({{"a", "plain"}, {"n", 7}, {"b", ""}, {"c", "two words"}, {"d", "x=y"}}),
            "event a=plain n=7 b=\"\" c=\"two words\" d=\"x=y\"");
  EXPECT_EQ(human({{"a", "one\ntwo\r"}, {"b", "say \"\\\""}}),
            R"(event a="one\ntwo\r" b="say \"\\\"")");
}

TEST(Log, ControlCharactersDoNotReachTheTerminal) {
  EXPECT_EQ(human({{"path", "/\x1b[2J\x7f"}}), R"(event path="/\x1b[2J\x7f")");
}

TEST(Log, JsonLinesAreObjectsOfTheSameFields) {
  const auto line = object({{"text", "say \"\\\n\x01\""},
                            {"n", -7},
                            {"big", uint64_t{1} << 63},
                            {"ms", 12.3456},
                            {"digits", "42"}});
  EXPECT_EQ(line["msg"], "event");
  EXPECT_EQ(line["text"], "say \"\\\n\x01\"");
  EXPECT_EQ(line["n"], -7);
  EXPECT_EQ(line["big"], uint64_t{1} << 63);
  EXPECT_EQ(line["ms"], 12.346);
  EXPECT_EQ(line["digits"], "42");  // a text stays one
}

TEST(Log, JsonLinesAreValidWhateverTheBytes) {
  EXPECT_EQ(object({{"path", "/\xff\xc3"}})["path"], "/\xef\xbf\xbd\xef\xbf\xbd");
  EXPECT_TRUE(object({{"x", std::numeric_limits<double>::quiet_NaN()}})["x"].is_null());
}

TEST(Log, SecretsAreInNeitherFormat) {
  const Fields fields = {{"authorization", "Bearer k-1"}, {"api_key", "k-1"}, {"secret", "k-1"}};
  EXPECT_EQ(human(fields), "event authorization=*** api_key=*** secret=***");
  EXPECT_EQ(object(fields)["api_key"], "***");
  EXPECT_EQ(log_line(LogFormat::json, "event", fields).find("k-1"), std::string::npos);
}

}  // namespace
}  // namespace tristill
