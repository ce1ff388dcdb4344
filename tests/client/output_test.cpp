#include "client/output.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/utf8.h"

namespace tristill::client {
namespace {

ProgressLine whole_line() {
  return {.phase = "train",
          .fraction = 0.4239,
          .step = 127,
          .total_steps = 300,
          .loss = 3.21456,
          .tokens_per_second = 12345,
          .eta_seconds = 75};
}

TEST(FormatTable, AlignsColumnsAndTrimsLineEnds) {
  EXPECT_EQ(format_table({"ID", "STATUS", "MODEL"},
                         {{"ftjob-1", "running", "tiny"}, {"ftjob-22", "failed", ""}}),
            "ID        STATUS   MODEL\n"
            "ftjob-1   running  tiny\n"
            "ftjob-22  failed\n");
}

TEST(FormatTable, CountsCharactersNotBytes) {
  EXPECT_EQ(format_table({"A", "B"}, {{"é", "x"}, {"eee", "y"}}),
            "A    B\n"
            "é    x\n"
            "eee  y\n");
}

TEST(FormatTable, CellsCannotBreakLinesOrDriveTheTerminal) {
  EXPECT_EQ(format_table({"A"}, {{"x\ny\x1b[31m"}}), "A\nx y\xEF\xBF\xBD[31m\n");
}

TEST(FormatFields, AlignsValuesAndLeavesEmptyOnesOut) {
  EXPECT_EQ(format_fields({{"id", "1"}, {"error", ""}, {"served as", "tiny"}}),
            "id:        1\n"
            "served as: tiny\n");
}

TEST(FormatDuration, PicksTwoUnits) {
  EXPECT_EQ(format_duration(0), "0s");
  EXPECT_EQ(format_duration(59.4), "59s");
  EXPECT_EQ(format_duration(59.6), "1m00s");
  EXPECT_EQ(format_duration(75), "1m15s");
  EXPECT_EQ(format_duration(3700), "1h01m");
  EXPECT_EQ(format_duration(90000), "1d01h");
}

TEST(FormatDuration, SaysUnknownForWhatIsNoDuration) {
  EXPECT_EQ(format_duration(-1), "?");
  EXPECT_EQ(format_duration(std::nan("")), "?");
  EXPECT_EQ(format_duration(INFINITY), "?");
  EXPECT_EQ(format_duration(1e300), "?");
}

TEST(FormatCount, KeepsNumbersShort) {
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(999.9), "1.0k");
  EXPECT_EQ(format_count(1234), "1.2k");
  EXPECT_EQ(format_count(999999), "1.0M");
  EXPECT_EQ(format_count(5.6e6), "5.6M");
  EXPECT_EQ(format_count(INFINITY), "?");
}

TEST(FormatTime, IsEmptyForNoTime) {
  EXPECT_EQ(format_time(0), "");
  EXPECT_EQ(format_time(-5), "");
  EXPECT_EQ(format_time(1790000000).size(), std::string("2026-09-21 13:33:20").size());
}

TEST(Printable, KeepsTextAndReplacesControls) {
  EXPECT_EQ(printable("def f():\n\treturn 'é'"), "def f():\n\treturn 'é'");
  EXPECT_EQ(printable("\x1b[2J\r\x7f"), "\xEF\xBF\xBD[2J\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(printable("\xC2\x9B"), "\xEF\xBF\xBD");  // CSI as one C1 character
  EXPECT_EQ(printable("\xC2\xA0"), "\xC2\xA0");
}

TEST(Printable, ReplacesBytesThatAreNoText) {
  EXPECT_EQ(printable("a\x9B"
                      "b"),
            "a\xEF\xBF\xBD"
            "b");
}

TEST(JsonLine, HoldsNoControlCharacterRaw) {
  const nlohmann::json value = {{"a", "\x1b\x7f\xC2\x9B\xC2\xA0\n"}};
  EXPECT_EQ(json_line(value), "{\"a\":\"\\u001b\\u007f\\u009b\xC2\xA0\\n\"}");
  EXPECT_EQ(nlohmann::json::parse(json_line(value)), value);
}

TEST(FormatLatency, PicksTheUnit) {
  EXPECT_EQ(format_latency(0.01234), "12.3 ms");
  EXPECT_EQ(format_latency(0.9994), "999.4 ms");
  EXPECT_EQ(format_latency(0.99999), "1.00 s");
  EXPECT_EQ(format_latency(4.2), "4.20 s");
  EXPECT_EQ(format_latency(-1), "?");
  EXPECT_EQ(format_latency(INFINITY), "?");
}

TEST(FormatProgress, ShowsAllAtFullWidth) {
  EXPECT_EQ(format_progress(whole_line(), 100),
            "train  [############..................]  42.3%  step 127/300  loss 3.2146  "
            "12.3k tok/s  eta 1m15s");
}

TEST(FormatProgress, ShrinksTheBarFirst) {
  EXPECT_EQ(format_progress(whole_line(), 80),
            "train  [#####........]  42.3%  step 127/300  loss 3.2146  12.3k tok/s  eta 1m15s");
}

TEST(FormatProgress, ThenLeavesOutFieldsFromTheRight) {
  EXPECT_EQ(format_progress(whole_line(), 40), "train  [####......]  42.3%  step 127/300");
}

TEST(FormatProgress, NeverExceedsTheWidth) {
  ProgressLine line = whole_line();
  line.phase = "prüfen";
  for (size_t width = 0; width < 130; ++width) {
    EXPECT_LE(utf8_length(format_progress(line, width)), width) << width;
    EXPECT_TRUE(utf8_is_valid(format_progress(line, width))) << width;
  }
}

TEST(FormatProgress, WithoutAFractionThereIsNoBar) {
  ProgressLine line;
  line.phase = "tokenizer";
  EXPECT_EQ(format_progress(line, 80), "tokenizer");
  line.step = 5;
  line.total_steps = 0;
  EXPECT_EQ(format_progress(line, 80), "tokenizer  step 5");
}

TEST(FormatProgress, FractionOutOfRangeIsClampedAndNeverRoundsUpToDone) {
  ProgressLine line;
  line.fraction = 7.0;
  EXPECT_NE(format_progress(line, 60).find("100.0%"), std::string::npos);
  line.fraction = -1.0;
  EXPECT_NE(format_progress(line, 60).find(" 0.0%"), std::string::npos);
  line.fraction = 0.99999;
  EXPECT_NE(format_progress(line, 60).find("99.9%"), std::string::npos);
}

TEST(FormatProgressWords, JoinsWhatIsKnown) {
  EXPECT_EQ(format_progress_words(whole_line()),
            "train 42.3% step 127/300 loss 3.2146 12.3k tok/s eta 1m15s");
  EXPECT_EQ(format_progress_words({}), "");
}

}  // namespace
}  // namespace tristill::client
