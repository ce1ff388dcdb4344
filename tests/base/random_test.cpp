#include "base/random.h"

#include <gtest/gtest.h>

namespace tristill {
namespace {

// Random123, kat_vectors: philox4x32-10 of the digits of pi.
TEST(Philox, GivesTheKnownAnswerOfPi) {
  EXPECT_EQ(philox(0x299f31d0a4093822ULL, 0x0370734413198a2eULL, 0x85a308d3243f6a88ULL),
            (std::array<uint32_t, 4>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(RandomStream, NumbersBelowAreInRangeAndAllOccur) {
  RandomStream random(9, 1);
  int seen[7] = {};
  for (int i = 0; i < 700; ++i) {
    const uint64_t n = random.below(7);
    ASSERT_LT(n, 7U);
    ++seen[n];
  }
  for (const int count : seen) EXPECT_GT(count, 50);
}

TEST(RandomStream, OtherStreamsAndSeedsAreOtherNumbers) {
  EXPECT_NE(philox(1, 0, 0), philox(0, 1, 0));
  EXPECT_NE(philox(1, 0, 0), philox(0, 0, 1));
  EXPECT_NE(philox(uint64_t{1} << 32, 0, 0), philox(0, uint64_t{1} << 32, 0));
}

}  // namespace
}  // namespace tristill
