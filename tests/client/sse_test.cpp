#include "client/sse.h"

#include <gtest/gtest.h>

#include <vector>

namespace tristill::client {
namespace {

// All events of text, fed in pieces of n bytes, as "id|data".
std::vector<std::string> events_of(std::string_view text, size_t n) {
  std::vector<std::string> events;
  SseParser parser;
  for (size_t at = 0; at < text.size(); at += n) {
    parser.feed(text.substr(at, n), [&](const SseEvent& event) {
      events.push_back(event.id + "|" + event.data);
      return true;
    });
  }
  return events;
}

constexpr std::string_view kStream =
    ": hello\n\n"
    "id: 7\ndata: {\"a\":1}\n\n"
    "data: first\ndata:second\n\r\n"
    "event: x\r\nid: 8\r\ndata: é\r\n\r\n"
    "data\n\n"
    "data: unfinished\n";

TEST(SseParser, GivesTheSameEventsHoweverTheBytesAreCut) {
  const std::vector<std::string> expected = {"7|{\"a\":1}", "7|first\nsecond", "8|é", "8|"};
  for (size_t n = 1; n <= kStream.size(); ++n) EXPECT_EQ(events_of(kStream, n), expected) << n;
}

TEST(SseParser, StopsWhenTheReaderHasEnough) {
  SseParser parser;
  int seen = 0;
  const auto once = [&](const SseEvent&) { return ++seen < 1; };
  EXPECT_FALSE(parser.feed("data: 1\n\ndata: 2\n\n", once));
  EXPECT_FALSE(parser.feed("data: 3\n\n", once));
  EXPECT_EQ(seen, 1);
  EXPECT_FALSE(parser.too_long());
}

TEST(SseParser, RefusesAnEndlessLine) {
  SseParser parser;
  const std::string piece(size_t{1} << 20, 'x');
  bool going = true;
  for (size_t i = 0; going && i < 2 * SseParser::kMaxEventBytes / piece.size(); ++i) {
    going = parser.feed(piece, [](const SseEvent&) { return true; });
  }
  EXPECT_FALSE(going);
  EXPECT_TRUE(parser.too_long());
}

}  // namespace
}  // namespace tristill::client
