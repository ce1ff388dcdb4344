#include <gtest/gtest.h>

#include "base/random.h"
#include "base/utf8.h"
#include "server/openai/choice.h"
#include "server/openai/completion_request.h"
#include "server/openai/text_stream.h"
#include "server/settings.h"

namespace tristill::openai {
namespace {

std::string streamed(const std::string& text, const std::vector<std::string>& stops,
                     RandomStream& random, bool* stopped = nullptr) {
  TextStream stream(stops);
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t n = 1 + random.below(4);
    const std::string part = stream.push(text.substr(at, n));
    EXPECT_TRUE(utf8_is_valid(part));
    out += part;
    at += n;
  }
  out += stream.finish();
  if (stopped != nullptr) *stopped = stream.stopped();
  return out;
}

TEST(TextStream, AnySplitGivesTheSameText) {
  const std::string text = "caf\xC3\xA9 \xE2\x82\xAC\n\xF0\x9F\x98\x80 # end";
  for (uint64_t seed = 0; seed < 200; ++seed) {
    RandomStream random(seed, 0);
    EXPECT_EQ(streamed(text, {}, random), text);
    bool stopped = false;
    EXPECT_EQ(streamed(text, {"zzz", " # e"}, random, &stopped),
              "caf\xC3\xA9 \xE2\x82\xAC\n\xF0\x9F\x98\x80");
    EXPECT_TRUE(stopped);
    EXPECT_EQ(streamed(text, {"# end!"}, random, &stopped), text);
    EXPECT_FALSE(stopped);
  }
}

TEST(TextStream, TheEarliestStopWins) {
  RandomStream random(1, 0);
  EXPECT_EQ(streamed("abcdef", {"ef", "cd"}, random), "ab");
  EXPECT_EQ(streamed("aaab", {"ab"}, random), "aa");
}

TEST(TextStream, HalfACharacterAtTheEndIsReplaced) {
  TextStream stream({});
  EXPECT_EQ(stream.push("\xE2\x82"), "");
  EXPECT_EQ(stream.finish(), "\xEF\xBF\xBD");
}

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
  EXPECT_FALSE(request->logprobs || request->suffix || request->seed || request->stream);
}

TEST(CompletionRequest, TheBodyOfTheSdksOwnTestsIsAccepted) {
  const auto request = parse_completion_request(
      R"({"model":"string","prompt":"x","best_of":0,"echo":true,"frequency_penalty":-2,)"
      R"("logit_bias":{"foo":0},"logprobs":0,"max_tokens":16,"n":1,"presence_penalty":-2,)"
      R"("seed":-9007199254740991,"stop":"\n","stream":false,"stream_options":)"
      R"({"include_usage":true,"include_obfuscation":true},"suffix":"test.","temperature":1,)"
      R"("top_p":1,"user":"user-1234","extra":1})");
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_EQ(request->ignored, (std::vector<std::string>{"logit_bias.foo", "extra"}));
}

TEST(CompletionRequest, RefusalsNameTheField) {
  const struct {
    const char* fields;
    const char* param;
  } cases[] = {
      {"\"prompt\":7", "prompt"},
      {"\"prompt\":[\"a\",true]", "prompt[1]"},
      {"\"prompt\":[1,-2]", "prompt[1]"},
      {"\"prompt\":[]", "prompt"},
      {"\"max_tokens\":-1", "max_tokens"},
      {"\"max_tokens\":\"5\"", "max_tokens"},
      {"\"max_tokens\":1.5", "max_tokens"},
      {"\"temperature\":2.1", "temperature"},
      {"\"top_p\":-0.1", "top_p"},
      {"\"n\":0", "n"},
      {"\"n\":2,\"best_of\":3", "best_of"},
      {"\"stop\":[1]", "stop[0]"},
      {"\"stop\":{}", "stop"},
      {"\"seed\":99999999999999999999", "seed"},
      {"\"stream\":\"yes\"", "stream"},
      {"\"stream_options\":{\"include_usage\":1}", "stream_options.include_usage"},
      {"\"logprobs\":21", "logprobs"},
      {"\"logit_bias\":{\"5\":101}", "logit_bias.5"},
      {"\"suffix\":5", "suffix"},
      {"\"prompt\":[1,2],\"suffix\":\"x\"", "suffix"},
  };
  for (const auto& c : cases) {
    const auto request = parse_completion_request("{" + std::string(c.fields) + "}");
    ASSERT_FALSE(request) << c.fields;
    EXPECT_EQ(request.error().param, c.param) << request.error().message;
  }
  EXPECT_FALSE(parse_completion_request("{"));
  EXPECT_FALSE(parse_completion_request(std::string(5000, '[')));
}

TEST(Choice, BytesThatAreNoTextAreShownAsBytes) {
  EXPECT_EQ(shown_bytes("ab"), "ab");
  EXPECT_EQ(shown_bytes("\xE2\x82"), "bytes:\\xe2\\x82");
}

TEST(Settings, FlagsWinAndOriginsAreKnown) {
  const char* const arguments[] = {"tristilld",      "--port",  "9",
                                   "--model=a.gguf", "--model", "b.gguf"};
  const auto settings = server::read_settings(6, arguments);
  ASSERT_TRUE(settings);
  EXPECT_EQ(settings->port, 9);
  EXPECT_EQ(settings->models, (std::vector<std::string>{"a.gguf", "b.gguf"}));
  EXPECT_EQ(settings->origins.at("port"), "flag --port");
}

TEST(Settings, WrongOnesNameTheSetting) {
  const char* const port[] = {"tristilld", "--port", "70000"};
  EXPECT_EQ(server::read_settings(3, port).error().param, "port");
  const char* const unknown[] = {"tristilld", "--prot", "1"};
  EXPECT_FALSE(server::read_settings(3, unknown));
  const char* const missing[] = {"tristilld", "--port"};
  EXPECT_FALSE(server::read_settings(2, missing));
}

}  // namespace
}  // namespace tristill::openai
