// Answers are understood however the bytes are cut.
#include "bench/sse.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <vector>

namespace tristill::bench {
namespace {

using Events = std::vector<std::string>;

Events read_in_parts(const std::string& answer, size_t part, bool* done = nullptr) {
  Events events;
  AnswerReader reader([&](std::string_view data) { events.emplace_back(data); });
  for (size_t at = 0; at < answer.size(); at += part) {
    reader.feed(std::string_view(answer).substr(at, part));
  }
  if (done != nullptr) *done = reader.done();
  return events;
}

const std::string kStream =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    "a\r\ndata: {\"a\"\r\n"
    "8\r\n: 1}\n\nda\r\n"
    "e\r\nta: [DONE]\n\n: \r\n"
    "0\r\n\r\n";

TEST(AnswerReader, EventsComeWholeWhereverTheBytesAreCut) {
  for (size_t part = 1; part <= kStream.size(); ++part) {
    bool done = false;
    EXPECT_EQ(read_in_parts(kStream, part, &done), (Events{"{\"a\": 1}", "[DONE]"})) << part;
    EXPECT_TRUE(done) << part;
  }
}

TEST(AnswerReader, ABodyWithALengthIsOneEvent) {
  const std::string answer =
      "HTTP/1.1 400 Bad\r\nContent-Length: 4\r\nConnection: close\r\n\r\nnope";
  for (size_t part = 1; part <= answer.size(); ++part) {
    EXPECT_EQ(read_in_parts(answer, part), (Events{"nope"}));
  }
  AnswerReader reader([](std::string_view) {});
  reader.feed(answer);
  EXPECT_EQ(reader.status(), 400);
  EXPECT_FALSE(reader.keeps_alive());
}

TEST(AnswerReader, ABodyWithoutALengthEndsWithTheConnection) {
  Events events;
  AnswerReader reader([&](std::string_view data) { events.emplace_back(data); });
  reader.feed("HTTP/1.1 200 OK\r\n\r\nall of it");
  EXPECT_FALSE(reader.done());
  EXPECT_TRUE(reader.closed());
  EXPECT_EQ(events, (Events{"all of it"}));
}

TEST(AnswerReader, ACutOffAnswerIsNotDone) {
  AnswerReader reader([](std::string_view) {});
  reader.feed(kStream.substr(0, kStream.size() - 4));
  EXPECT_FALSE(reader.closed());
}

TEST(AnswerReader, WhatIsNoHttpIsRefused) {
  AnswerReader reader([](std::string_view) {});
  EXPECT_THROW(reader.feed("SSH-2.0-OpenSSH\r\n\r\n"), std::runtime_error);
}

}  // namespace
}  // namespace tristill::bench
