// Prefetching: the batches and places of the stream itself, and its errors.
#include "train/data/prefetch.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>

#include "tests/support/test_model.h"

namespace tristill::train {
namespace {

// tiny_tokenizer, which fails while told to.
class Failing final : public Tokenizer {
 public:
  std::vector<TokenId> encode(std::string_view text) const override { return own_->encode(text); }
  std::string_view bytes_of(TokenId id) const override {
    if (fails) throw std::runtime_error("no bytes today");
    return own_->bytes_of(id);
  }
  std::string_view piece_of(TokenId id) const override { return own_->piece_of(id); }
  size_t vocab_size() const override { return own_->vocab_size(); }
  const SpecialTokens& special() const override { return own_->special(); }
  const ControlPieces& control_pieces() const override { return own_->control_pieces(); }
  std::string_view serialized() const override { return own_->serialized(); }
  const std::string& fingerprint() const override { return own_->fingerprint(); }

  std::atomic<bool> fails = false;

 private:
  std::shared_ptr<const Tokenizer> own_ = test::tiny_tokenizer();
};

BatchStream stream_of(std::shared_ptr<const Tokenizer> tokenizer) {
  std::vector<TokenSource> sources(2);
  for (int i = 0; i < 40; ++i) {
    std::string text;
    for (int line = 0; line < 1 + i % 7; ++line) {
      text += "def f" + std::to_string(i * 7 + line) + "(x):\n    return x\n";
    }
    sources[static_cast<size_t>(i % 2)].add_document(*tokenizer, text);
  }
  return {std::move(sources), std::move(tokenizer), {.rows = 2, .tokens = 64, .seed = 9}};
}

void expect_same(const Batch& a, const Batch& b, int step) {
  EXPECT_TRUE(a.tokens.equal(b.tokens)) << step;
  EXPECT_TRUE(a.labels.equal(b.labels)) << step;
  EXPECT_TRUE(a.segment_start.equal(b.segment_start)) << step;
  EXPECT_EQ(a.bytes, b.bytes) << step;
}

TEST(Prefetch, GivesTheStreamsBatchesAndItsPlaceAfterTheLastTaken) {
  const auto tokenizer = test::tiny_tokenizer();
  BatchStream stream = stream_of(tokenizer);
  Prefetch ahead(stream_of(tokenizer));
  EXPECT_EQ(ahead.sources(), 2U);
  EXPECT_EQ(ahead.cursor().to_numbers(), stream.cursor().to_numbers());
  for (int step = 0; step < 60; ++step) {  // some epochs
    expect_same(ahead.next(), stream.next(), step);
    EXPECT_EQ(ahead.cursor().to_numbers(), stream.cursor().to_numbers()) << step;
  }
  EXPECT_GT(ahead.cursor().places[0].epoch, 1);
}

TEST(Prefetch, ASeekDiscardsWhatWasPackedAhead) {
  const auto tokenizer = test::tiny_tokenizer();
  BatchStream stream = stream_of(tokenizer);
  Prefetch ahead(stream_of(tokenizer));
  for (int step = 0; step < 5; ++step) ahead.next();
  const Cursor place = ahead.cursor();
  for (int step = 0; step < 4; ++step) ahead.next();
  ahead.seek(place);
  EXPECT_EQ(ahead.cursor().to_numbers(), place.to_numbers());
  stream.seek(place);
  for (int step = 0; step < 8; ++step) {
    expect_same(ahead.next(), stream.next(), step);
    EXPECT_EQ(ahead.cursor().to_numbers(), stream.cursor().to_numbers()) << step;
  }
}

TEST(Prefetch, WhatPackingThrowsReachesWhoAsksAndTheBatchIsNotLost) {
  const auto tokenizer = std::make_shared<Failing>();
  BatchStream stream = stream_of(test::tiny_tokenizer());
  Prefetch ahead(stream_of(tokenizer));
  tokenizer->fails = true;
  const auto before = ahead.cursor().to_numbers();
  EXPECT_THROW(ahead.next(), std::runtime_error);
  EXPECT_THROW(ahead.next(), std::runtime_error);
  EXPECT_EQ(ahead.cursor().to_numbers(), before);
  tokenizer->fails = false;
  for (int step = 0; step < 4; ++step) expect_same(ahead.next(), stream.next(), step);
}

}  // namespace
}  // namespace tristill::train
