#include "client/gap.h"

#include <gtest/gtest.h>

namespace tristill::client {
namespace {

// "prefix|suffix", or "no" and the field at fault.
std::string cut(std::string_view text, uint64_t line, uint64_t column) {
  const auto gap = gap_at(text, line, column);
  return gap ? gap->prefix + "|" + gap->suffix : "no " + gap.error().param;
}

TEST(GapAt, CutsBeforeTheColumn) {
  EXPECT_EQ(cut("ab\ncd\n", 1, 1), "|ab\ncd\n");
  EXPECT_EQ(cut("ab\ncd\n", 2, 2), "ab\nc|d\n");
  EXPECT_EQ(cut("ab\ncd\n", 2, 3), "ab\ncd|\n");
  EXPECT_EQ(cut("ab\ncd\n", 3, 1), "ab\ncd\n|");
  EXPECT_EQ(cut("", 1, 1), "|");
}

TEST(GapAt, CountsCharactersNotBytes) {
  EXPECT_EQ(cut("é€😀x", 1, 4), "é€😀|x");
  EXPECT_EQ(cut("é€😀x", 1, 5), "é€😀x|");
  EXPECT_EQ(cut("é€😀x", 1, 6), "no column");
}

TEST(GapAt, ACarriageReturnBelongsToTheLinesEnd) {
  EXPECT_EQ(cut("ab\r\ncd", 1, 3), "ab|\r\ncd");
  EXPECT_EQ(cut("ab\r\ncd", 1, 4), "no column");
}

TEST(GapAt, RefusesPlacesThatAreNotThere) {
  EXPECT_EQ(cut("ab\n", 0, 1), "no line");
  EXPECT_EQ(cut("ab\n", 3, 1), "no line");
  EXPECT_EQ(cut("ab\n", UINT64_MAX, 1), "no line");
  EXPECT_EQ(cut("ab\n", 1, 0), "no column");
  EXPECT_EQ(cut("ab\n", 2, 2), "no column");
  EXPECT_EQ(cut("ab\n", 1, UINT64_MAX), "no column");
}

}  // namespace
}  // namespace tristill::client
