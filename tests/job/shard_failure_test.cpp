// Shards on full disks and with contents that no writer of ours makes.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/atomic_file.h"
#include "base/crc32c.h"
#include "train/trace/shard.h"

namespace tristill::trace {
namespace {

namespace fs = std::filesystem;

Record record(int32_t first) {
  return {.tokenizer = std::string(64, 'a'),
          .teacher = "t",
          .sampling = Sampling::greedy,
          .prompt_tokens = 1,
          .tokens = {first, 6, 7},
          .top_logprobs = {{}, {{6, -0.5F}, {9, -1.5F}}, {{7, -0.25F}}}};
}

class ShardFailure : public ::testing::Test {
 protected:
  ShardFailure() {
    std::string name = (fs::temp_directory_path() / "tristill-shard-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
    path_ = folder_ / "s";
  }
  ~ShardFailure() override { fs::remove_all(folder_); }

  // A whole record with this payload and its right CRC.
  void write_payload(const std::string& payload) {
    std::string bytes = "TSTRACE1";
    for (const auto number : {static_cast<uint32_t>(payload.size()), crc32c(payload)}) {
      bytes.append(reinterpret_cast<const char*>(&number), sizeof number);
    }
    ASSERT_TRUE(write_file_atomically(path_, bytes + payload));
  }
  ShardSummary summary() {
    const auto read = read_shard(path_, [](Record&&) {});
    EXPECT_TRUE(read);
    return read ? *read : ShardSummary{};
  }

  fs::path folder_, path_;
};

// In a child: the limit on file sizes stands for a full disk.
TEST_F(ShardFailure, AFullDiskKeepsNoneOfTheCallsRecordsAndAllOfThoseBefore) {
  ASSERT_TRUE(append_records(path_, std::vector{record(1), record(2)}));
  const std::string before = *read_file(path_);
  for (size_t room = 0; room < 300; room += 23) {
    const pid_t child = ::fork();
    if (child == 0) {
      std::signal(SIGXFSZ, SIG_IGN);
      const rlimit limit{before.size() + room, before.size() + room};
      ::setrlimit(RLIMIT_FSIZE, &limit);
      const auto done = append_records(path_, std::vector{record(3), record(4), record(5)});
      ::_exit(!done && done.error().code == ErrorCode::resource_exhausted ? 0 : 1);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    ASSERT_EQ(status, 0) << room;
    ASSERT_EQ(*read_file(path_), before) << room;
  }
  EXPECT_TRUE(append_records(path_, std::vector{record(3)}));
  EXPECT_EQ(summary().records, 3U);
}

TEST_F(ShardFailure, AShardTornWhileItWasMadeIsEmptyAndCanBeAppendedTo) {
  for (size_t n = 0; n < 8; ++n) {
    ASSERT_TRUE(write_file_atomically(path_, std::string("TSTRACE1").substr(0, n)));
    EXPECT_EQ(summary().records, 0U);
    EXPECT_EQ(summary().torn_tail, n > 0);
    ASSERT_TRUE(append_records(path_, std::vector{record(1)}));
    EXPECT_EQ(summary().records, 1U);
    EXPECT_FALSE(summary().torn_tail);
  }
}

TEST_F(ShardFailure, CountsAreOfWholeRecords) {
  ASSERT_TRUE(append_records(path_, std::vector{record(1), record(2)}));
  const ShardSummary whole = summary();
  EXPECT_EQ(whole.records, 2U);
  EXPECT_EQ(whole.tokens, 6U);
  EXPECT_EQ(whole.scored_tokens, 4U);
  EXPECT_FALSE(whole.torn_tail);
  EXPECT_EQ(read_shard(folder_ / "none", [](Record&&) {}).error().code, ErrorCode::not_found);
  EXPECT_FALSE(read_shard(folder_, [](Record&&) {}));
}

TEST_F(ShardFailure, ALengthBeyondTheFileIsATornTail) {
  ASSERT_TRUE(append_records(path_, std::vector{record(1)}));
  const std::string whole = *read_file(path_);
  for (const uint32_t length : {0U, 1U, 0x7FFFFFFFU, 0xFFFFFFFFU}) {
    std::string bytes = whole + std::string(40, 'x');
    std::memcpy(bytes.data() + whole.size(), &length, sizeof length);
    ASSERT_TRUE(write_file_atomically(path_, bytes));
    EXPECT_EQ(summary().records, 1U);
    EXPECT_TRUE(summary().torn_tail);
  }
}

// Wherever in a record a bit turns: were it cut off, those behind it would go with it.
TEST_F(ShardFailure, RotBeforeWholeRecordsIsNamedAndNothingIsCutOff) {
  for (int32_t i = 0; i < 10; ++i) ASSERT_TRUE(append_records(path_, std::vector{record(i)}));
  const std::string whole = *read_file(path_);
  const size_t n_bytes = (whole.size() - 8) / 10;
  // The length becomes too small, then points beyond the end; then the CRC, then the payload.
  for (const size_t at : {size_t{0}, size_t{1}, size_t{3}, size_t{5}, size_t{8}, n_bytes - 1}) {
    for (const size_t number : {size_t{1}, size_t{4}, size_t{9}}) {
      std::string bytes = whole;
      bytes[8 + (number - 1) * n_bytes + at] ^= 16;
      ASSERT_TRUE(write_file_atomically(path_, bytes));
      EXPECT_EQ(summary().records, number - 1) << at;
      EXPECT_EQ(summary().damaged_at, number) << at;
      const auto refused = append_records(path_, std::vector{record(10)});
      ASSERT_FALSE(refused) << at;
      EXPECT_EQ(refused.error().code, ErrorCode::corrupt);
      EXPECT_NE(refused.error().message.find("record " + std::to_string(number) + " of"),
                std::string::npos)
          << refused.error().message;
      EXPECT_EQ(*read_file(path_), bytes) << at;
    }
  }
}

TEST_F(ShardFailure, RotInTheLastRecordIsATornTail) {
  for (int32_t i = 0; i < 10; ++i) ASSERT_TRUE(append_records(path_, std::vector{record(i)}));
  const std::string whole = *read_file(path_);
  const size_t n_bytes = (whole.size() - 8) / 10;
  for (size_t at = 0; at < n_bytes; ++at) {
    std::string bytes = whole;
    bytes[8 + 9 * n_bytes + at] ^= 16;
    ASSERT_TRUE(write_file_atomically(path_, bytes));
    EXPECT_EQ(summary().records, 9U) << at;
    EXPECT_TRUE(summary().torn_tail) << at;
    EXPECT_FALSE(summary().damaged_at) << at;
    ASSERT_TRUE(append_records(path_, std::vector{record(10)}));
    EXPECT_EQ(summary().records, 10U) << at;
    EXPECT_FALSE(summary().torn_tail) << at;
  }
}

// What follows is found however far it is.
TEST_F(ShardFailure, RotInALargeRecordIsNoTornTail) {
  Record large = record(1);
  large.tokens.resize(500'000, 5);
  large.top_logprobs.resize(500'000);
  ASSERT_TRUE(append_records(path_, std::vector{large, record(2)}));
  std::string bytes = *read_file(path_);
  bytes[1000] ^= 1;
  ASSERT_TRUE(write_file_atomically(path_, bytes));
  EXPECT_EQ(summary().damaged_at, 1U);
  ASSERT_TRUE(write_file_atomically(path_, bytes.substr(0, bytes.size() - 1)));
  EXPECT_FALSE(summary().damaged_at);
  EXPECT_TRUE(summary().torn_tail);
}

// A CRC tells rot, not lies.
TEST_F(ShardFailure, AWholeRecordOfImpossibleContentIsNotVisited) {
  ASSERT_TRUE(append_records(path_, std::vector{record(1)}));
  const std::string good = read_file(path_)->substr(16);
  write_payload(good);
  ASSERT_EQ(summary().records, 1U);
  // sampling 1 byte, teacher 2 + 1, tokenizer 64, prompt_tokens at 68, n at 72, tokens at 76.
  const auto with = [&](size_t at, auto value) {
    std::string payload = good;
    std::memcpy(payload.data() + at, &value, sizeof value);
    return payload;
  };
  const size_t first_logprob = 76 + 3 * 4 + 1 + 1 + 4;
  const std::string bad[] = {with(0, uint8_t{3}),
                             with(1, uint16_t{60000}),
                             with(68, uint32_t{4}),
                             with(72, uint32_t{0}),
                             with(72, uint32_t{4}),
                             with(72, UINT32_MAX),
                             with(76, int32_t{-1}),
                             with(88, uint8_t{65}),
                             with(first_logprob, 0.5F),
                             with(first_logprob, std::nanf("")),
                             with(first_logprob, -HUGE_VALF),
                             with(first_logprob - 4, int32_t{-7}),
                             good + "x",
                             good.substr(0, good.size() - 1)};
  for (const std::string& payload : bad) {
    write_payload(payload);
    EXPECT_EQ(summary().records, 0U) << testing::PrintToString(payload);
    EXPECT_TRUE(summary().torn_tail);
    EXPECT_EQ(summary().damaged_at, 1U);
  }
}

TEST_F(ShardFailure, ARecordThatCouldNotBeReadIsOurDefect) {
  Record wrong = record(1);
  wrong.tokenizer = "short";
  EXPECT_THROW((void)append_records(path_, std::vector{wrong}), Defect);
  wrong = record(1);
  wrong.top_logprobs.pop_back();
  EXPECT_THROW((void)append_records(path_, std::vector{wrong}), Defect);
  EXPECT_FALSE(fs::exists(path_));
}

}  // namespace
}  // namespace tristill::trace
