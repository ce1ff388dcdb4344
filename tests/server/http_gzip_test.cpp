#include "server/http/gzip.h"

#include <gtest/gtest.h>

#include "tests/support/gzipped.h"

namespace tristill::http {
namespace {

using tests::gzipped;

ErrorCode failure(std::string_view bytes, size_t max_bytes) {
  const auto plain = gunzip(bytes, max_bytes);
  EXPECT_FALSE(plain);
  return plain ? ErrorCode::internal : plain.error().code;
}

TEST(Gzip, BodiesComeBackWhole) {
  for (const size_t size : {0U, 1U, 1000U, 65535U, 65536U, 65537U, 500000U}) {
    std::string text(size, 'a');
    for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * i >> 7);
    const auto plain = gunzip(gzipped(text), size);
    ASSERT_TRUE(plain) << size;
    EXPECT_EQ(*plain, text);
  }
}

TEST(Gzip, MembersAreJoined) {
  EXPECT_EQ(*gunzip(gzipped("one, ") + gzipped("") + gzipped("two"), 100), "one, two");
}

TEST(Gzip, OneByteTooManyIsTooMany) {
  EXPECT_TRUE(gunzip(gzipped(std::string(1000, 'a')), 1000));
  EXPECT_EQ(failure(gzipped(std::string(1001, 'a')), 1000), ErrorCode::resource_exhausted);
  EXPECT_EQ(failure(gzipped("a"), 0), ErrorCode::resource_exhausted);
}

TEST(Gzip, WhatIsNoWholeGzipIsRefused) {
  const std::string whole = gzipped("some text that is long enough to be cut and damaged");
  for (size_t n = 0; n < whole.size(); ++n) {
    EXPECT_EQ(failure(whole.substr(0, n), 1000), ErrorCode::corrupt) << n;
  }
  EXPECT_EQ(failure(whole + "x", 1000), ErrorCode::corrupt);
  EXPECT_EQ(failure("plain text", 1000), ErrorCode::corrupt);
  std::string damaged = whole;
  damaged[damaged.size() - 6] ^= 1;  // of the checksum
  EXPECT_EQ(failure(damaged, 1000), ErrorCode::corrupt);
}

}  // namespace
}  // namespace tristill::http
