#include "base/utf8.h"
#include "tests/support/served_model.h"

namespace tristill::openai {
namespace {

using nlohmann::json;

class Chat : public tests::ServedModelTest {
 protected:
  static json conversation(int n) {
    return {{"messages",
             {{{"role", "system"}, {"content", "You are brief."}},
              {{"role", "user"}, {"content", {{{"type", "text"}, {"text", "def f("}}}}}}},
            {"max_tokens", n},
            {"temperature", 0}};
  }
  json ok(const json& body) {
    const auto answer = ask("POST", "/v1/chat/completions", body.dump());
    EXPECT_EQ(answer.status, 200) << answer.response.body;
    return answer.body;
  }
  json error(const json& body) {
    const auto answer = ask("POST", "/v1/chat/completions", body.dump());
    EXPECT_EQ(answer.status, 400) << answer.response.body;
    return answer.body["error"];
  }
};

TEST_F(Chat, AnAnswerIsAMessage) {
  const auto answer = ask("POST", "/v1/chat/completions", conversation(5).dump());
  ASSERT_EQ(answer.status, 200) << answer.response.body;
  EXPECT_TRUE(answer.body["id"].get<std::string>().starts_with("chatcmpl-"));
  EXPECT_EQ(answer.body["object"], "chat.completion");
  const json& choice = answer.body["choices"][0];
  EXPECT_EQ(choice["message"]["role"], "assistant");
  EXPECT_TRUE(choice["message"]["content"].is_string());
  EXPECT_TRUE(choice.at("logprobs").is_null());
  EXPECT_EQ(answer.body["usage"]["completion_tokens"], 5);
  // The model of the tests carries no template, and the answer says so.
  EXPECT_EQ(answer.response.headers.at("x-chat-template"), "plain");
}

TEST_F(Chat, ThePromptIsWhatTheTemplateMakes) {
  const json body = conversation(8);
  const std::string prompt =
      ask("POST", "/apply-template", body.dump()).body["prompt"].get<std::string>();
  const json plain = complete({{"prompt", prompt}, {"max_tokens", 8}, {"temperature", 0}}).body;
  EXPECT_EQ(ok(body)["choices"][0]["message"]["content"], plain["choices"][0]["text"]);
  EXPECT_EQ(ok(body)["usage"]["prompt_tokens"], plain["usage"]["prompt_tokens"]);
}

TEST_F(Chat, AStreamIsTheRoleThenTheTextThenTheEnd) {
  json body = conversation(8);
  const std::string whole = ok(body)["choices"][0]["message"]["content"];
  body["stream_options"] = {{"include_usage", true}};
  const auto chunks = stream(body, "/v1/chat/completions");
  EXPECT_EQ(chunks[0]["object"], "chat.completion.chunk");
  EXPECT_EQ(chunks[0]["choices"][0]["delta"], (json{{"role", "assistant"}, {"content", ""}}));
  std::string text;
  int ends = 0;
  for (size_t i = 0; i + 1 < chunks.size(); ++i) {
    const json& choice = chunks[i]["choices"][0];
    text += choice["delta"].value("content", "");
    ends += choice["finish_reason"].is_null() ? 0 : 1;
    EXPECT_TRUE(chunks[i].at("usage").is_null());
  }
  EXPECT_EQ(text, whole);
  EXPECT_EQ(ends, 1);
  EXPECT_TRUE(chunks.back()["choices"].empty());
  EXPECT_EQ(chunks.back()["usage"]["completion_tokens"], 8);
}

TEST_F(Chat, LogprobsAreOneEntryAToken) {
  json body = conversation(4);
  body["logprobs"] = true;
  body["top_logprobs"] = 2;
  const json content = ok(body)["choices"][0]["logprobs"]["content"];
  ASSERT_EQ(content.size(), 4U);
  for (const json& token : content) {
    EXPECT_EQ(token["top_logprobs"].size(), 2U);
    EXPECT_EQ(token["top_logprobs"][0]["logprob"], token["logprob"]);  // greedy
    EXPECT_TRUE(token["bytes"].is_array());
  }
}

TEST_F(Chat, JsonModeSaysJson) {
  json body = conversation(120);
  body["temperature"] = 1;
  body["response_format"] = {
      {"type", "json_schema"},
      {"json_schema",
       {{"name", "answer"},
        {"schema",
         {{"type", "object"},
          {"properties", {{"ok", {{"type", "boolean"}}}, {"n", {{"enum", {1, 2, 3}}}}}},
          {"required", {"ok", "n"}},
          {"additionalProperties", false}}}}}};
  for (int seed = 0; seed < 5; ++seed) {
    body["seed"] = seed;
    const json answer = ok(body);
    const std::string text = answer["choices"][0]["message"]["content"];
    const json said = json::parse(text, nullptr, false);
    ASSERT_TRUE(said.is_object()) << text;
    EXPECT_TRUE(said["ok"].is_boolean());
    EXPECT_TRUE(said["n"] == 1 || said["n"] == 2 || said["n"] == 3);
    EXPECT_EQ(answer["choices"][0]["finish_reason"], "stop");
  }
}

TEST_F(Chat, WhatIsWrongIsNamed) {
  EXPECT_EQ(error(json::object())["param"], "messages");
  EXPECT_EQ(error({{"messages", {{{"role", "robot"}, {"content", "x"}}}}})["param"],
            "messages[0].role");
  json body = conversation(1);
  body["messages"][1]["content"] = {{{"type", "image_url"}}};
  EXPECT_EQ(error(body)["param"], "messages[1].content[0].type");
  body = conversation(1);
  body["tools"] = {{{"type", "function"}, {"function", {{"name", "f"}}}}};
  EXPECT_EQ(error(body)["param"], "tools");
  EXPECT_EQ(error(body)["code"], "unsupported_parameter");
  body["tool_choice"] = "none";
  EXPECT_EQ(ok(body)["choices"].size(), 1U);
  body = conversation(1);
  body["response_format"] = {{"type", "yaml"}};
  EXPECT_EQ(error(body)["param"], "response_format");
  body = conversation(1);
  body["top_logprobs"] = 21;
  EXPECT_EQ(error(body)["param"], "top_logprobs");
}

class Embedding : public tests::ServedModelTest {};

TEST_F(Embedding, VectorsHaveLengthOneAndDependOnTheTextAlone) {
  const auto embed = [&](const json& body) {
    const auto answer = ask("POST", "/v1/embeddings", body.dump());
    EXPECT_EQ(answer.status, 200) << answer.response.body;
    return answer.body;
  };
  const json both = embed({{"input", {"def f(x):", "import os"}}});
  ASSERT_EQ(both["data"].size(), 2U);
  const auto first = both["data"][0]["embedding"].get<std::vector<double>>();
  double squares = 0;
  for (const double x : first) squares += x * x;
  EXPECT_NEAR(squares, 1, 1e-5);
  EXPECT_NE(both["data"][0]["embedding"], both["data"][1]["embedding"]);
  const json again = embed({{"input", "def f(x):"}});
  EXPECT_EQ(again["data"][0]["embedding"], both["data"][0]["embedding"]);
  EXPECT_EQ(embed({{"input", "x"}, {"dimensions", 7}})["data"][0]["embedding"].size(), 7U);
  const json packed = embed({{"input", "x"}, {"encoding_format", "base64"}});
  EXPECT_EQ(packed["data"][0]["embedding"].get<std::string>().size(),
            (first.size() * 4 + 2) / 3 * 4);
}

}  // namespace
}  // namespace tristill::openai
