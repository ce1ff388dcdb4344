// Every line of cases/completions.jsonl: a request, its status, and where it is refused, why.
#include <fstream>

#include "tests/support/served_model.h"

namespace tristill::openai {
namespace {

using nlohmann::json;

class CompletionCases : public tests::ServedModelTest {
 protected:
  static std::string body_of(const json& wanted) {
    if (wanted.contains("raw")) return wanted["raw"];
    json body = wanted["body"];
    if (body.contains("repeat_prompt")) {
      const auto n = body["repeat_prompt"].get<size_t>();
      body["prompt"] = std::vector<int>(n, body["prompt"][0].get<int>());
      body.erase("repeat_prompt");
    }
    return body.dump();
  }

  // Whether text holds the parts of pattern, which ".*" separates, in their order.
  static bool matches(const std::string& text, std::string pattern) {
    size_t at = 0;
    for (pattern += ".*"; !pattern.empty(); pattern.erase(0, pattern.find(".*") + 2)) {
      const std::string part = pattern.substr(0, pattern.find(".*"));
      at = text.find(part, at);
      if (at == std::string::npos) return false;
      at += part.size();
    }
    return true;
  }

  void check(const json& wanted) {
    SCOPED_TRACE(wanted["name"]);
    const auto answer = ask("POST", "/v1/completions", body_of(wanted));
    ASSERT_EQ(answer.status, wanted["status"]) << answer.response.body;
    if (wanted.contains("ignored")) {
      EXPECT_EQ(answer.response.headers.at("x-ignored-params"), wanted["ignored"]);
    }
    if (answer.status == 200) return;
    const json& error = answer.body["error"];
    EXPECT_EQ(error.size(), 4U) << error;
    EXPECT_EQ(error["type"], "invalid_request_error");
    EXPECT_EQ(error["param"], wanted.contains("param") ? wanted["param"] : json());
    EXPECT_EQ(error["code"], wanted.value("code", "invalid_value"));
    if (wanted.contains("message")) {
      EXPECT_TRUE(matches(error["message"], wanted["message"])) << error["message"];
    }
  }
};

TEST_F(CompletionCases, AreAnsweredAsTheFileSays) {
  std::ifstream file(TRISTILL_SOURCE_DIR "/tests/server/cases/completions.jsonl");
  size_t n = 0;
  for (std::string line; std::getline(file, line); ++n) {
    const json wanted = json::parse(line, nullptr, false);
    ASSERT_TRUE(wanted.is_object()) << line;
    check(wanted);
  }
  EXPECT_GT(n, 80U);
}

TEST_F(CompletionCases, DeepNestingIsRefusedWithoutParsing) {
  for (const std::string open : {"[", "{\"a\":"}) {
    std::string body = "{\"prompt\":";
    for (int i = 0; i < 500000; ++i) body += open;
    const auto answer = ask("POST", "/v1/completions", body);
    EXPECT_EQ(answer.status, 400);
    EXPECT_EQ(answer.body["error"]["code"], "invalid_json");
  }
}

TEST_F(CompletionCases, TextThatCannotFitIsRefusedBeforeItIsSplit) {
  const std::string text(7000000, 'a');
  for (const json& body : {json{{"prompt", text}}, json{{"prompt", "a"}, {"suffix", text}},
                           json{{"prompt", {5, text}}}}) {
    const auto answer = ask("POST", "/v1/completions", body.dump());
    EXPECT_EQ(answer.status, 400);
    EXPECT_EQ(answer.body["error"]["code"], "context_length_exceeded");
    EXPECT_NE(answer.body["error"]["message"].get<std::string>().find("bytes"), std::string::npos);
  }
}

TEST_F(CompletionCases, TooManyElementsAreCountedNotSpelledOut) {
  const auto answer =
      ask("POST", "/v1/completions", json{{"prompt", std::vector<int>(1100000, 5)}}.dump());
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(answer.body["error"]["message"],
            "prompt is 1100000; accepted is a list of at most 1048576 elements");
}

TEST_F(CompletionCases, ABodyOverTheLimitIs413) {
  EXPECT_EQ(ask("POST", "/v1/completions", std::string((8 << 20) + 1, ' ')).status, 413);
}

}  // namespace
}  // namespace tristill::openai
