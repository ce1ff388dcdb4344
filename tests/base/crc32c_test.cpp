#include "base/crc32c.h"

#include <gtest/gtest.h>

#include <string>

#include "base/random.h"

namespace tristill {
namespace {

TEST(Crc32c, EqualsTheBitwiseDefinitionAtEveryLengthAndOffset) {
  RandomStream random(3, 0);
  std::string bytes;
  for (int i = 0; i < 80; ++i) bytes += static_cast<char>(random.below(256));
  for (size_t from = 0; from < 9; ++from) {
    uint32_t crc = ~0U;
    for (size_t n = 0; from + n < bytes.size(); ++n) {
      ASSERT_EQ(crc32c(std::string_view(bytes).substr(from, n)), ~crc) << from << " " << n;
      crc ^= static_cast<uint8_t>(bytes[from + n]);
      for (int bit = 0; bit < 8; ++bit) crc = crc & 1 ? crc >> 1 ^ 0x82F63B78U : crc >> 1;
    }
  }
  // RFC 3720, appendix B.4.
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAU);
  EXPECT_EQ(crc32c(std::string(32, '\xFF')), 0x62A8AB43U);
}

}  // namespace
}  // namespace tristill
