#include "server/openai/text_stream.h"

#include <gtest/gtest.h>

#include "base/random.h"
#include "base/utf8.h"

namespace tristill::openai {
namespace {

using Texts = std::vector<std::string>;

struct Outcome {
  std::string text;
  bool stopped = false;
  size_t released = 0;
  bool operator==(const Outcome&) const = default;
};

Outcome run(const Texts& pieces, const Texts& stops) {
  TextStream stream({.stops = stops});
  Outcome outcome;
  for (const std::string& piece : pieces) outcome.text += stream.push(piece);
  outcome.text += stream.finish();
  outcome.stopped = stream.stopped();
  outcome.released = stream.released();
  return outcome;
}

// Written from the definition: the text before the stop that ends first; of those that end there,
// the longest.
Outcome by_definition(const std::string& bytes, const Texts& stops) {
  for (size_t end = 1; end <= bytes.size(); ++end) {
    size_t longest = 0;
    for (const std::string& stop : stops) {
      if (std::string_view(bytes).substr(0, end).ends_with(stop))
        longest = std::max(longest, stop.size());
    }
    if (longest > 0)
      return {utf8_replace_invalid(bytes.substr(0, end - longest)), true, end - longest};
  }
  return {utf8_replace_invalid(bytes), false, bytes.size()};
}

TEST(TextStream, TextPassesAtOnceWhenNothingSpeaksAgainstIt) {
  TextStream stream({});
  EXPECT_EQ(stream.push("def "), "def ");
  EXPECT_EQ(stream.push(""), "");
  EXPECT_EQ(stream.finish(), "");
  EXPECT_FALSE(stream.stopped());
}

TEST(TextStream, HalfCharactersWaitForTheirRest) {
  TextStream stream({});
  EXPECT_EQ(stream.push("a\xf0\x9f"), "a");
  EXPECT_EQ(stream.push("\x99"), "");
  EXPECT_EQ(stream.push("\x82"
                        "b"),
            "\xf0\x9f\x99\x82"
            "b");
}

TEST(TextStream, HalfCharactersAtTheEndAreReplaced) {
  EXPECT_EQ(run({"a\xf0\x9f"}, {}).text, "a\xef\xbf\xbd");
  EXPECT_EQ(run({"\xe2\x82", "x"}, {}).text, "\xef\xbf\xbdx");
}

TEST(TextStream, TheStopAndWhatFollowsIsCut) {
  EXPECT_EQ(run({"one\ntwo"}, {"\n"}), (Outcome{"one", true, 3}));
  EXPECT_EQ(run({"one", "\n", "two"}, {"\n"}), (Outcome{"one", true, 3}));
}

TEST(TextStream, WhatMayBeginAStopWaits) {
  TextStream stream({.stops = {"\n\ndef"}});
  EXPECT_EQ(stream.push("x\n"), "x");
  EXPECT_EQ(stream.push("\nd"), "");
  EXPECT_EQ(stream.push("o"), "\n\ndo");
  EXPECT_EQ(stream.push("\n"), "");
  EXPECT_EQ(stream.push("\n\nde"), "\n");
  EXPECT_EQ(stream.finish(), "\n\nde");
  EXPECT_FALSE(stream.stopped());
}

TEST(TextStream, AfterAStopNothingComes) {
  TextStream stream({.stops = {"END"}});
  EXPECT_EQ(stream.push("aEND b"), "a");
  EXPECT_EQ(stream.push("more"), "");
  EXPECT_EQ(stream.finish(), "");
}

TEST(TextStream, TheStopThatEndsFirstWins) {
  EXPECT_EQ(run({"abc"}, {"abc", "b"}), (Outcome{"a", true, 1}));
  EXPECT_EQ(run({"abc"}, {"c", "abc"}), (Outcome{"", true, 0}));
}

TEST(TextStream, StopsMayOverlapThemselves) {
  EXPECT_EQ(run({"aaab", "aab", "x"}, {"aab"}), (Outcome{"a", true, 1}));
  EXPECT_EQ(run({"ab", "ab", "ac"}, {"abac"}), (Outcome{"ab", true, 2}));
}

TEST(TextStream, EverySplitGivesTheSameTextAndNeverLeaksAStop) {
  constexpr uint64_t kSeed = 20240611;
  SCOPED_TRACE(kSeed);
  const Texts alphabet = {"a",    "b",        "ab",       "\n",           "\xc3",
                          "\xa9", "\xf0\x9f", "\x99\x82", "\xe2\x82\xac", "\xff"};
  RandomStream random(kSeed, 0);
  const auto word = [&](uint64_t most) {
    std::string text;
    for (uint64_t n = 1 + random.below(most); n > 0; --n)
      text += alphabet[random.below(alphabet.size())];
    return text;
  };
  for (int round = 0; round < 3000; ++round) {
    const std::string bytes = word(16);
    Texts stops;
    for (uint64_t n = random.below(4); n > 0; --n) stops.push_back(word(3));
    const Outcome expected = by_definition(bytes, stops);
    for (int split = 0; split < 4; ++split) {
      Texts pieces(1);
      for (const char byte : bytes) {
        if (split > 0 && (split == 1 || random.below(3) == 0)) pieces.emplace_back();
        pieces.back() += byte;
      }
      const Outcome outcome = run(pieces, stops);
      ASSERT_EQ(outcome, expected) << "round " << round << " text " << outcome.text;
      ASSERT_TRUE(utf8_is_valid(outcome.text));
    }
  }
}

// How n_indent of llama.cpp ends a text: by the first later line that is indented less.
TEST(TextStream, ALineThatIsIndentedLessEndsTheTextBeforeIt) {
  const std::string text = "a = 1\n    b = 2\n\n  \n  c = 3\nd";
  for (size_t piece = 1; piece < text.size(); ++piece) {
    TextStream stream({.stops = {}, .show_stop = false, .min_indent = 4});
    std::string shown;
    for (size_t at = 0; at < text.size(); at += piece) shown += stream.push(text.substr(at, piece));
    shown += stream.finish();
    EXPECT_EQ(shown, "a = 1\n    b = 2") << piece;
    EXPECT_TRUE(stream.stopped());
    EXPECT_EQ(stream.released(), shown.size());
  }
}

TEST(TextStream, EmptyLinesAtTheEndAreText) {
  TextStream stream({.stops = {}, .show_stop = false, .min_indent = 2});
  std::string shown = stream.push("x\n\n  ");
  EXPECT_EQ(shown, "x");
  EXPECT_EQ(shown + stream.finish(), "x\n\n  ");
  EXPECT_FALSE(stream.stopped());
}

TEST(TextStream, TheStopTextIsShownWhenItIsAskedFor) {
  TextStream stream({.stops = {"END"}, .show_stop = true});
  EXPECT_EQ(stream.push("aENDb"), "aEND");
  EXPECT_EQ(stream.stop(), "END");
}

}  // namespace
}  // namespace tristill::openai
