#include <gtest/gtest.h>

#include "server/openai/choice.h"
#include "server/openai/completion_request.h"

namespace tristill::openai {
namespace {

TEST(CompletionRequest, AllPromptFormsAreRead) {
  const auto prompts = [](const std::string& prompt) {
    const auto request = parse_completion_request("{\"prompt\":" + prompt + "}");
    EXPECT_TRUE(request) << prompt;
    return request->prompts;
  };
  EXPECT_EQ(prompts("\"a\"")[0][0].text, "a");
  EXPECT_EQ(prompts("[\"a\",\"b\"]").size(), 2U);
  EXPECT_EQ(prompts("[1,2,3]")[0][0].ids, (std::vector<TokenId>{1, 2, 3}));
  EXPECT_EQ(prompts("[[1],[2,3]]")[1][0].ids, (std::vector<TokenId>{2, 3}));
  EXPECT_EQ(prompts("[12,\"x\",34]")[0].size(), 3U);
  EXPECT_EQ(prompts("null").size(), 1U);
}

TEST(CompletionRequest, NullMeansAbsentAndDefaultsAreOpenAIs) {
  const auto request = parse_completion_request(
      R"({"prompt":"x","max_tokens":null,"temperature":null,"logprobs":null,"stop":null,)"
      R"("suffix":null,"seed":null,"stream":null,"n":null,"logit_bias":null})");
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_EQ(request->max_tokens, 16U);
  EXPECT_EQ(request->sampling.temperature, 1.0F);
  EXPECT_FALSE(request->logprobs || request->gap || request->seed || request->stream);
}

TEST(CompletionRequest, TheBodyOfTheSdksOwnTestsIsAccepted) {
  const auto request = parse_completion_request(
      R"({"model":"string","prompt":"x","best_of":0,"echo":true,"frequency_penalty":-2,)"
      R"("logit_bias":{"foo":0},"logprobs":0,"max_tokens":16,"n":1,"presence_penalty":-2,)"
      R"("seed":-9007199254740991,"stop":"\n","stream":false,"stream_options":)"
      R"({"include_usage":true,"include_obfuscation":true},"suffix":"test.","temperature":1,)"
      R"("top_p":1,"user":"user-1234","extra":1})");
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_EQ(request->ignored, (std::vector<std::string>{"extra"}));
  EXPECT_EQ(request->text_bias.size(), 1U);
}

TEST(Choice, BytesThatAreNoTextAreShownAsBytes) {
  EXPECT_EQ(shown_bytes("ab"), "ab");
  EXPECT_EQ(shown_bytes("\xE2\x82"), "bytes:\\xe2\\x82");
}

}  // namespace
}  // namespace tristill::openai
