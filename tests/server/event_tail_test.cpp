#include "server/jobs/event_tail.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/job_fixture.h"

namespace tristill::jobs {
namespace {

class EventTailTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto opened = Store::open(folder_.path() / "tristill.db");
    ASSERT_TRUE(opened) << opened.error().message;
    store_ = std::move(*opened);
    auto job =
        store_->add({.name = "a", .spec = "{}", .idempotency_key = {}, .body_digest = "d"}, 9);
    ASSERT_TRUE(job);
    id_ = job->id;
  }
  void append(const std::string& bytes) {
    std::ofstream file(events(), std::ios::app | std::ios::binary);
    file << bytes;
    ASSERT_TRUE(file.flush());
  }
  static std::string line(double step) {
    job::Event event;
    event.type = job::EventType::metrics;
    event.numbers = {{"step", step}};
    return job::format_event(event) + "\n";
  }
  std::filesystem::path events() const { return folder_.path() / "events.jsonl"; }
  // A tail as a daemon that starts now would make it.
  EventTail tail() { return EventTail(*store_, id_, events(), store_->find(id_)->event_offset); }
  std::vector<StoredEvent> stored() {
    auto all = store_->events(id_, 0, 100000);
    all.erase(all.begin());  // "Job created"
    return all;
  }

  tests::TemporaryFolder folder_;
  std::unique_ptr<Store> store_;
  std::string id_;
};

TEST_F(EventTailTest, AMissingFileHasNoLines) { EXPECT_EQ(tail().drain(), 0u); }

TEST_F(EventTailTest, StoresEachLineOnceOverRestarts) {
  for (int i = 0; i < 50; ++i) {
    append(line(i));
    EXPECT_EQ(tail().drain(), 1u);
    EXPECT_EQ(tail().drain(), 0u);
  }
  const auto events = stored();
  ASSERT_EQ(events.size(), 50u);
  for (size_t i = 0; i < events.size(); ++i) {
    EXPECT_EQ(events[i].event.numbers.at("step"), static_cast<double>(i));
  }
}

TEST_F(EventTailTest, WaitsForTheRestOfALineAtEveryCut) {
  const std::string whole = line(1);
  for (size_t cut = 1; cut < whole.size(); ++cut) {
    append(whole.substr(0, cut));
    EventTail tail_now = tail();
    EXPECT_EQ(tail_now.drain(), 0u) << cut;
    append(whole.substr(cut));
    EXPECT_EQ(tail_now.drain(), 1u) << cut;
  }
  EXPECT_EQ(stored().size(), whole.size() - 1);
}

TEST_F(EventTailTest, ATornLineBecomesOneWarning) {
  // A worker died in the middle of a line; the next one began with a newline.
  append("{\"type\":\"metr");
  EXPECT_EQ(tail().drain(), 0u);
  append("\n" + line(2));
  EXPECT_EQ(tail().drain(), 2u);
  const auto events = stored();
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].event.level, job::EventLevel::warn);
  EXPECT_EQ(events[0].type, "log");
  EXPECT_EQ(events[1].type, "metrics");
}

TEST_F(EventTailTest, AnOverlongLineBecomesOneWarningAndIsSkipped) {
  append(line(1));
  append(std::string(9 * kMaxEventLine, 'a') + "\n" + line(2));
  EXPECT_EQ(tail().drain(), 3u);
  const auto events = stored();
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[1].event.level, job::EventLevel::warn);
  EXPECT_EQ(events[2].event.numbers.at("step"), 2);
}

TEST_F(EventTailTest, AnOverlongLineThatStillGrowsIsSkippedToItsEnd) {
  EventTail tail_now = tail();
  append(std::string(kMaxEventLine + 1, 'a'));
  EXPECT_EQ(tail_now.drain(), 1u);
  append(std::string(1000, 'a'));
  EXPECT_EQ(tail_now.drain(), 0u);
  append("\n" + line(3));
  EXPECT_EQ(tail_now.drain(), 1u);
  EXPECT_EQ(stored().back().event.numbers.at("step"), 3);
}

TEST_F(EventTailTest, AFileThatLostItsEndIsReadOnFromThere) {
  append(line(1) + line(2) + line(3));
  EXPECT_EQ(tail().drain(), 3u);
  std::filesystem::resize_file(events(), line(1).size() + 4);
  tail().accept_loss();
  append("\n" + line(4));  // as the next worker begins after a torn line
  EXPECT_EQ(tail().drain(), 1u);
  const auto events = stored();
  ASSERT_EQ(events.size(), 5u);
  EXPECT_EQ(events[3].type, "log");
  EXPECT_EQ(events[3].event.level, job::EventLevel::warn);
  EXPECT_EQ(events[4].event.numbers.at("step"), 4);
}

TEST_F(EventTailTest, AFileThatIsGoneIsReadFromItsNewBeginning) {
  append(line(1));
  EXPECT_EQ(tail().drain(), 1u);
  std::filesystem::remove(events());
  tail().accept_loss();
  append(line(2));
  EXPECT_EQ(tail().drain(), 1u);
  EXPECT_EQ(stored().back().event.numbers.at("step"), 2);
}

TEST_F(EventTailTest, AFileThatLostNothingIsReadAsBefore) {
  tail().accept_loss();
  append(line(1) + line(2));
  tail().accept_loss();
  EXPECT_EQ(tail().drain(), 2u);
  tail().accept_loss();
  append(line(3).substr(0, 5));
  tail().accept_loss();
  append(line(3).substr(5));
  EXPECT_EQ(tail().drain(), 1u);
  EXPECT_EQ(stored().size(), 3u);
}

TEST_F(EventTailTest, ReadsManyMegabytes) {
  std::string bytes;
  size_t n_lines = 0;
  while (bytes.size() < 3 * kMaxEventLine) {
    bytes += line(static_cast<double>(n_lines++));
  }
  append(bytes);
  EXPECT_EQ(tail().drain(), n_lines);
  EXPECT_EQ(store_->find(id_)->event_offset, static_cast<int64_t>(bytes.size()));
}

TEST(ParseLines, HostileBytesGiveWarningsNotFailures) {
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes += static_cast<char>(i);
  bytes += "\n{}\n[]\nnull\n\n{\"type\":\"metrics\"}\n" + std::string(5000, '[') + "\nrest";
  size_t used = 0;
  const auto events = parse_lines(bytes, 1.0, used);
  EXPECT_EQ(used, bytes.size() - 4);
  for (const auto& event : events) {
    EXPECT_TRUE(event.type == job::EventType::log || event.type == job::EventType::metrics);
  }
}

}  // namespace
}  // namespace tristill::jobs
