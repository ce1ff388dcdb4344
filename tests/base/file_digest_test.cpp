#include "base/file_digest.h"

#include <gtest/gtest.h>

#include <string>

#include "base/atomic_file.h"
#include "tests/support/temporary_folder.h"

namespace tristill {
namespace {

TEST(FileDigest, IsThatOfTheBytesWhateverTheirNumber) {
  const tests::TemporaryFolder folder;
  const auto path = folder.path() / "file";
  for (const size_t size : {size_t{0}, size_t{1}, size_t{1} << 20, (size_t{1} << 21) + 3}) {
    std::string bytes(size, 'x');
    for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 31 % 251);
    ASSERT_TRUE(write_file_atomically(path, bytes));
    const auto whole = digest_of_file(path);
    ASSERT_TRUE(whole) << whole.error().message;
    EXPECT_EQ(whole->bytes, size);
    EXPECT_EQ(whole->digest, sha256(bytes));
    const auto half = digest_of_file(path, size / 2);
    ASSERT_TRUE(half);
    EXPECT_EQ(half->bytes, size / 2);
    EXPECT_EQ(half->digest, sha256(bytes.substr(0, size / 2)));
  }
}

TEST(FileDigest, WhatCannotBeReadIsAnError) {
  const tests::TemporaryFolder folder;
  EXPECT_EQ(digest_of_file(folder.path() / "nothing").error().code, ErrorCode::not_found);
  EXPECT_EQ(digest_of_file(folder.path()).error().code, ErrorCode::unavailable);
}

}  // namespace
}  // namespace tristill
