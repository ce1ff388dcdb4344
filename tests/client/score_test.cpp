#include "client/score.h"

#include <gtest/gtest.h>

#include <cmath>

namespace tristill::client {
namespace {

using Json = nlohmann::json;

TEST(ScoreOf, SumsWhatHasAProbability) {
  Score score = score_of(Json::parse(R"({"token_logprobs": [null, -1, -3]})"));
  score.bytes = 4;
  EXPECT_EQ(score.tokens, 3U);
  EXPECT_EQ(score.scored_tokens, 2U);
  EXPECT_DOUBLE_EQ(score.log_likelihood, -4);
  EXPECT_DOUBLE_EQ(score.perplexity(), std::exp(2));
  EXPECT_DOUBLE_EQ(score.bits_per_byte(), 1 / std::log(2));
}

TEST(ScoreOf, NothingScoredIsNoDivisionByZero) {
  const Score score = score_of(Json::parse(R"({"token_logprobs": [null]})"));
  EXPECT_EQ(score.perplexity(), 0);
  EXPECT_EQ(score.bits_per_byte(), 0);
  EXPECT_EQ(score_of(Json::parse("{}")).tokens, 0U);
}

TEST(ScoreOf, SeveralTextsCountAsOne) {
  Score sum = score_of(Json::parse(R"({"token_logprobs": [null, -1]})"));
  sum += score_of(Json::parse(R"({"token_logprobs": [null, -2, -3]})"));
  sum.bytes = 6;
  EXPECT_EQ(sum.scored_tokens, 3U);
  EXPECT_DOUBLE_EQ(sum.perplexity(), std::exp(2));
  EXPECT_DOUBLE_EQ(sum.bits_per_byte(), 1 / std::log(2));
}

TEST(UnscoredOf, IsWhatStandsBeforeTheFirstProbability) {
  const auto unscored = [](const char* logprobs) {
    return unscored_of({{"tokens", {7, 8, 9}}, {"token_logprobs", Json::parse(logprobs)}}).dump();
  };
  EXPECT_EQ(unscored("[null, -1, null]"), "[7]");
  EXPECT_EQ(unscored("[null, null, -1]"), "[7,8]");
  EXPECT_EQ(unscored("[-1, -1, -1]"), "[]");
  EXPECT_EQ(unscored("[null, null, null, null]"), "[7,8,9]");
}

TEST(UnscoredBytes, AreThoseOfTheTokensOwnText) {
  EXPECT_EQ(unscored_bytes("def f", "def", 1), 3U);
  EXPECT_EQ(unscored_bytes("def f", "", 1), 0U) << "a token without text";
  EXPECT_EQ(unscored_bytes("\xC3\xA9x", "\xEF\xBF\xBD", 1), 1U) << "a byte of a character";
  EXPECT_EQ(unscored_bytes("", "x", 3), 0U);
}

TEST(TraceOf, KeepsWhatTracesTake) {
  const Json record = Json::parse(R"({"tokenizer": "t", "teacher": "m", "sampling": "corpus",
      "prompt_tokens": 2, "tokens": [1, 2], "top_logprobs": [null, [[2, -0.5]]], "text": "x",
      "token_logprobs": [null, -0.5], "other_logprobs": [null, -1], "object": "score"})");
  EXPECT_EQ(trace_of(record), Json::parse(R"({"tokenizer": "t", "teacher": "m",
      "sampling": "corpus", "prompt_tokens": 2, "tokens": [1, 2],
      "top_logprobs": [null, [[2, -0.5]]], "text": "x"})"));
}

}  // namespace
}  // namespace tristill::client
