#include "client/line_history.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace tristill::client {
namespace {

namespace fs = std::filesystem;

class LineHistoryTest : public testing::Test {
 protected:
  ~LineHistoryTest() override { fs::remove_all(folder_); }

  const fs::path folder_ =
      fs::temp_directory_path() / ("tristill_history_" + std::to_string(getpid()));
  const fs::path path_ = folder_ / "state/history";
};

using Lines = std::vector<std::string>;

TEST_F(LineHistoryTest, LinesComeBackInTheNextRun) {
  LineHistory first(path_);
  EXPECT_TRUE(first.add("one"));
  EXPECT_TRUE(first.add("zwei é"));
  EXPECT_EQ(LineHistory(path_).lines(), (Lines{"one", "zwei é"}));
}

TEST_F(LineHistoryTest, BlankAndRepeatedLinesAreNotKept) {
  LineHistory history(path_);
  for (const char* line : {"a", "a", " ", "", "b", "a"}) history.add(line);
  EXPECT_EQ(history.lines(), (Lines{"a", "b", "a"}));
  EXPECT_EQ(LineHistory(path_).lines(), (Lines{"a", "b", "a"}));
}

TEST_F(LineHistoryTest, OnlyTheOwnerCanReadIt) {
  LineHistory(path_).add("private");
  struct stat status = {};
  ASSERT_EQ(stat(path_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0600U);
}

TEST_F(LineHistoryTest, TheFileDoesNotGrowWithoutBound) {
  fs::create_directories(path_.parent_path());
  {
    std::ofstream file(path_);
    for (size_t i = 0; i < 3 * LineHistory::kMaxLines; ++i) file << i << "\n";
  }
  const LineHistory history(path_);
  EXPECT_EQ(history.lines().size(), LineHistory::kMaxLines);
  EXPECT_EQ(history.lines().back(), std::to_string(3 * LineHistory::kMaxLines - 1));
  std::ifstream file(path_);
  std::string line;
  size_t n = 0;
  while (std::getline(file, line)) ++n;
  EXPECT_EQ(n, LineHistory::kMaxLines);
}

TEST_F(LineHistoryTest, WithoutAFileItLastsForTheRun) {
  LineHistory history{fs::path()};
  EXPECT_FALSE(history.add("a"));
  EXPECT_EQ(history.lines(), Lines{"a"});
}

}  // namespace
}  // namespace tristill::client
