#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "base/atomic_file.h"
#include "base/byte_reader.h"
#include "base/crc32c.h"
#include "base/file_lock.h"
#include "base/mapped_file.h"
#include "base/random.h"
#include "base/sha256.h"
#include "base/utf8.h"

namespace tristill {
namespace {

namespace fs = std::filesystem;

class FilesTest : public ::testing::Test {
 protected:
  FilesTest() {
    std::string name = (fs::temp_directory_path() / "tristill-base-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
  }
  ~FilesTest() override { fs::remove_all(folder_); }
  fs::path folder_;
};

TEST(Result, HoldsAValueOrAnError) {
  Result<int> good = 3;
  ASSERT_TRUE(good);
  EXPECT_EQ(*good, 3);
  EXPECT_THROW((void)good.error(), Defect);
  Result<int> bad = Error{ErrorCode::not_found, "no", "x"};
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().param, "x");
  EXPECT_THROW((void)*bad, Defect);
}

TEST(ByteReader, AReadPastTheEndSticks) {
  const unsigned char bytes[] = {1, 2, 3, 4, 5};
  ByteReader in(std::as_bytes(std::span(bytes)));
  EXPECT_EQ(in.u32(), 0x04030201U);
  EXPECT_TRUE(in.ok());
  EXPECT_EQ(in.u16(), 0);
  EXPECT_FALSE(in.ok());
  EXPECT_EQ(in.u8(), 0);  // also what would still fit
  EXPECT_FALSE(in.ok());
}

TEST(ByteReader, HugeLengthsDoNotOverflow) {
  const unsigned char bytes[] = {1, 2, 3};
  ByteReader in(std::as_bytes(std::span(bytes)));
  in.u8();
  EXPECT_TRUE(in.take(UINT64_MAX).empty());
  EXPECT_FALSE(in.ok());
}

TEST(Utf8, EverySplitOfATextHoldsBackAtMostThreeBytes) {
  const std::string text = "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80z";
  for (size_t n = 0; n <= text.size(); ++n) {
    const std::string_view part = std::string_view(text).substr(0, n);
    const size_t whole = utf8_whole_prefix(part);
    EXPECT_LE(n - whole, 3U);
    EXPECT_TRUE(utf8_is_valid(part.substr(0, whole))) << n;
  }
  EXPECT_EQ(utf8_length(text), 5U);
}

TEST(Utf8, InvalidPartsAreReplacedAndNeverHeldBackForEver) {
  EXPECT_EQ(utf8_replace_invalid("a\xFFz"), "a\xEF\xBF\xBDz");
  EXPECT_EQ(utf8_replace_invalid("\xE2\x82"), "\xEF\xBF\xBD");
  EXPECT_EQ(utf8_replace_invalid("\xED\xA0\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(utf8_whole_prefix("\x80\x80\x80\x80"), 4U);
  EXPECT_FALSE(utf8_is_valid("\xC0\x80"));
  EXPECT_FALSE(utf8_is_valid("\xF4\x90\x80\x80"));
}

TEST(Utf8, AgreesWithDecodingOneCodePointAtATime) {
  for (uint32_t c = 0; c < 0x110000; c += 17) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text;
    if (c < 0x80) {
      text = {static_cast<char>(c)};
    } else if (c < 0x800) {
      text = {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 63))};
    } else if (c < 0x10000) {
      text = {static_cast<char>(0xE0 | c >> 12), static_cast<char>(0x80 | (c >> 6 & 63)),
              static_cast<char>(0x80 | (c & 63))};
    } else {
      text = {static_cast<char>(0xF0 | c >> 18), static_cast<char>(0x80 | (c >> 12 & 63)),
              static_cast<char>(0x80 | (c >> 6 & 63)), static_cast<char>(0x80 | (c & 63))};
    }
    ASSERT_TRUE(utf8_is_valid(text)) << c;
    ASSERT_EQ(utf8_whole_prefix(std::string_view(text).substr(0, text.size() - 1)), 0U) << c;
  }
}

// Random123's known answers for philox4x32-10.
TEST(Philox, GivesTheKnownAnswers) {
  EXPECT_EQ(philox(0, 0, 0),
            (std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox(~0ULL, ~0ULL, ~0ULL),
            (std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
}

TEST(RandomStream, ItsWholeStateIsTheCounter) {
  RandomStream a(5, 7);
  for (int i = 0; i < 10; ++i) a.uniform();
  RandomStream b(5, 7, a.counter());
  EXPECT_EQ(a.uniform(), b.uniform());
}

TEST(Checksums, GiveTheKnownAnswers) {
  EXPECT_EQ(crc32c("123456789"), 0xE3069283U);
  EXPECT_EQ(to_hex(sha256("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST_F(FilesTest, AnAtomicWriteReplacesTheWholeFileAndLeavesNothingBeside) {
  const fs::path path = folder_ / "f";
  ASSERT_TRUE(write_file_atomically(path, "one"));
  ASSERT_TRUE(write_file_atomically(path, "two"));
  EXPECT_EQ(*read_file(path), "two");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
  EXPECT_EQ(write_file_atomically(folder_ / "no" / "f", "x").error().code, ErrorCode::not_found);
}

// In a child: the limit on file sizes stands for a full disk.
TEST_F(FilesTest, AFullDiskLeavesTheOldFileWhole) {
  const fs::path path = folder_ / "f";
  ASSERT_TRUE(write_file_atomically(path, "old"));
  const pid_t child = ::fork();
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1000, 1000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const auto done = write_file_atomically(path, std::string(5000, 'x'));
    ::_exit(!done && done.error().code == ErrorCode::resource_exhausted ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(*read_file(path), "old");
}

TEST_F(FilesTest, ALockIsHeldExactlyWhileItsOwnerLives) {
  const fs::path path = folder_ / "lock";
  EXPECT_FALSE(FileLock::is_held(path));
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const auto lock = FileLock::acquire(path);
    char byte = lock ? 'y' : 'n';
    (void)!::write(ready[1], &byte, 1);
    ::pause();
    ::_exit(0);
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  EXPECT_EQ(byte, 'y');
  EXPECT_TRUE(FileLock::is_held(path));
  EXPECT_EQ(FileLock::acquire(path).error().code, ErrorCode::conflict);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_FALSE(FileLock::is_held(path));
  EXPECT_TRUE(FileLock::acquire(path));
}

TEST_F(FilesTest, AMappedFileShowsItsBytesAndMissingOnesAreNamed) {
  ASSERT_TRUE(write_file_atomically(folder_ / "f", "hello"));
  const auto mapped = MappedFile::open(folder_ / "f");
  ASSERT_TRUE(mapped);
  EXPECT_EQ(mapped->bytes().size(), 5U);
  EXPECT_EQ(MappedFile::open(folder_ / "g").error().code, ErrorCode::not_found);
  EXPECT_EQ(MappedFile::open(folder_).error().code, ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace tristill
