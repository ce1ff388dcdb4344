#include "train/run/resident_memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace tristill::train {
namespace {

TEST(ResidentMemory, GrowsByWhatIsTaken) {
  constexpr size_t kTaken = size_t{64} << 20;
  const auto before = resident_bytes();
  ASSERT_TRUE(before);
  const std::vector<char> taken(kTaken, 1);
  const auto after = resident_bytes();
  ASSERT_TRUE(after);
  EXPECT_EQ(std::ranges::count(taken, 1), static_cast<std::ptrdiff_t>(kTaken));
  EXPECT_GT(*after, *before + kTaken / 2);
}

}  // namespace
}  // namespace tristill::train
