// The dialects of other servers: llama.cpp's and Mistral's, on the one core.
#include "base/utf8.h"
#include "model/tokenizer/fim.h"
#include "tests/support/served_model.h"

namespace tristill::compat {
namespace {

using nlohmann::json;

class Compat : public tests::ServedModelTest {
 protected:
  json ok(const std::string& path, const json& body) {
    const auto answer = ask("POST", path, body.dump());
    EXPECT_EQ(answer.status, 200) << answer.response.body;
    return answer.body;
  }
  json error(const std::string& path, const json& body, int status) {
    const auto answer = ask("POST", path, body.dump());
    EXPECT_EQ(answer.status, status) << answer.response.body;
    return answer.body["error"];
  }
  // What the core answers for the same gap.
  std::string middle(const std::string& prefix, const std::string& suffix, int n) {
    const json body = {
        {"prompt", prefix}, {"suffix", suffix}, {"max_tokens", n}, {"temperature", 0}};
    return complete(body).body["choices"][0]["text"];
  }
  static json gap(int n) {
    return {{"input_prefix", "def f("},
            {"input_suffix", "return x"},
            {"n_predict", n},
            {"temperature", 0}};
  }
};

TEST_F(Compat, InfillIsFillInTheMiddle) {
  const json answer = ok("/infill", gap(6));
  EXPECT_EQ(answer["content"], middle("def f(", "return x", 6));
  EXPECT_EQ(answer["stop"], true);
  EXPECT_EQ(answer["tokens_predicted"], 6);
  EXPECT_EQ(answer["stop_type"], "limit");
  EXPECT_EQ(answer["truncated"], false);
  EXPECT_EQ(answer["tokens_evaluated"], fim_prompt(*tokenizer_, "def f(", "return x")->size());
  EXPECT_EQ(answer["timings"]["predicted_n"], 6);
}

TEST_F(Compat, TheLineBeforeTheCursorBelongsToThePrefix) {
  json body = gap(6);
  body["input_prefix"] = "def ";
  body["prompt"] = "f(";
  EXPECT_EQ(ok("/infill", body)["content"], middle("def f(", "return x", 6));
}

TEST_F(Compat, OtherFilesStandBeforeThePrefix) {
  json body = gap(6);
  body["input_extra"] = {{{"text", "import os"}, {"filename", "a.py"}, {"time", 12}},
                         {{"text", "x = 1"}}};
  EXPECT_EQ(ok("/infill", body)["content"], middle("import os\n\nx = 1\n\ndef f(", "return x", 6));
}

TEST_F(Compat, WhatIsFarFromTheGapIsLeftOutOfASmallContext) {
  std::string far;
  for (int i = 0; i < 2000; ++i) far += "x = " + std::to_string(i) + "\n";
  json body = gap(8);
  body["input_prefix"] = far;
  body["input_suffix"] = far;
  body["input_extra"] = {{{"text", far}}};
  const json answer = ok("/infill", body);
  EXPECT_EQ(answer["truncated"], true);
  EXPECT_EQ(answer["tokens_predicted"], 8);
  EXPECT_LE(answer["tokens_evaluated"].get<int>(), 256 - 8);
}

TEST_F(Compat, ResponseFieldsAreFlattened) {
  json body = gap(4);
  body["response_fields"] = {"content", "timings/prompt_n", "timings/nothing", "truncated"};
  const json answer = ok("/infill", body);
  EXPECT_EQ(answer.size(), 3U) << answer;
  EXPECT_TRUE(answer.contains("timings/prompt_n"));
  body["response_fields"] = {""};
  EXPECT_EQ(ok("/infill", body), json::object());
}

TEST_F(Compat, AWarmUpGeneratesNothingAndFillsTheCache) {
  json body = gap(0);
  body["input_prefix"] = "def fibonacci(number):\n    return fibonacci(number - 1)";
  body["t_max_prompt_ms"] = 1;
  const json warm = ok("/infill", body);
  EXPECT_EQ(warm["tokens_predicted"], 0);
  EXPECT_EQ(warm["content"], "");
  body["n_predict"] = 1;
  body.erase("t_max_prompt_ms");
  EXPECT_GE(ok("/infill", body)["timings"]["cache_n"].get<int>(), 16);
}

TEST_F(Compat, SeveralCompletionsAreAList) {
  json body = gap(4);
  body["n_cmpl"] = 3;
  body["temperature"] = 1;
  const json answers = ok("/infill", body);
  ASSERT_EQ(answers.size(), 3U);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(answers[i]["index"], i);
}

TEST_F(Compat, InfillNamesWhatIsWrong) {
  EXPECT_EQ(error("/infill", {{"input_suffix", "x"}}, 400)["param"], "input_prefix");
  EXPECT_EQ(error("/infill", {{"input_prefix", "x"}}, 400)["param"], "input_suffix");
  json body = gap(1);
  body["input_extra"] = {{{"text", 5}}};
  EXPECT_EQ(error("/infill", body, 400)["param"], "input_extra[0].text");
  body = gap(1);
  body["response_fields"] = {1};
  EXPECT_EQ(error("/infill", body, 400)["param"], "response_fields");
  body = gap(-3);
  EXPECT_EQ(error("/infill", body, 400)["param"], "n_predict");
}

TEST_F(Compat, ANativeCompletionGoesOnToTheContextWithoutALimit) {
  const json answer =
      ok("/completion", {{"prompt", std::vector<int>(240, 5)}, {"ignore_eos", true}});
  EXPECT_EQ(answer["tokens_predicted"], 16);
  EXPECT_EQ(answer["tokens_cached"], 256);
}

TEST_F(Compat, ANativeStreamEndsWithStopAndNoDone) {
  const json body = {{"prompt", "def f("}, {"n_predict", 6}, {"temperature", 0}};
  const std::string whole = ok("/completion", body)["content"];
  const auto events = stream(body, "/completion", "");
  std::string text;
  for (const json& event : events) {
    text += event["content"].get<std::string>();
    EXPECT_EQ(event["stop"], &event == &events.back());
  }
  EXPECT_EQ(text, whole);
  EXPECT_EQ(events.back()["tokens_predicted"], 6);
}

TEST_F(Compat, NativeProbabilitiesComeWithIdsAndBytes) {
  const json body = {{"prompt", "x"}, {"n_predict", 3}, {"temperature", 0}, {"n_probs", 2}};
  const json list = ok("/completion", body)["completion_probabilities"];
  ASSERT_EQ(list.size(), 3U);
  for (const json& one : list) {
    EXPECT_EQ(one["top_logprobs"].size(), 2U);
    EXPECT_EQ(one["top_logprobs"][0]["id"], one["id"]);
    EXPECT_EQ(one["top_logprobs"][0]["logprob"], one["logprob"]);
    EXPECT_TRUE(one["bytes"].is_array());
  }
}

TEST_F(Compat, AStopTextIsNamed) {
  const json body = {{"prompt", "x"}, {"n_predict", 8}, {"temperature", 0}};
  const std::string text = ok("/completion", body)["content"];
  json stopped = body;
  stopped["stop"] = {text.substr(0, utf8_whole_prefix(text.substr(0, 4)))};
  const json answer = ok("/completion", stopped);
  EXPECT_EQ(answer["stop_type"], "word");
  EXPECT_EQ(answer["stopping_word"], stopped["stop"][0]);
}

TEST_F(Compat, FimAnswersAMessageAndStreamsDeltas) {
  const json body = {
      {"prompt", "def f("}, {"suffix", "return x"}, {"max_tokens", 6}, {"temperature", 0}};
  const std::string text = middle("def f(", "return x", 6);
  const json answer = ok("/fim/completions", body);
  EXPECT_EQ(answer["object"], "chat.completion");
  EXPECT_EQ(answer["choices"][0]["message"]["content"], text);
  const auto chunks = stream(body, "/v1/fim/completions");
  EXPECT_EQ(chunks[0]["choices"][0]["delta"]["role"], "assistant");
  std::string streamed;
  for (const json& chunk : chunks) {
    streamed += chunk["choices"][0]["delta"].value("content", "");
  }
  EXPECT_EQ(streamed, text);
  EXPECT_EQ(chunks.back()["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(error("/fim/completions", {{"suffix", "x"}}, 400)["param"], "prompt");
}

TEST_F(Compat, FimWithoutASuffixIsAPlainCompletion) {
  const json body = {{"prompt", "def f("}, {"max_tokens", 6}, {"temperature", 0}};
  EXPECT_EQ(ok("/fim/completions", body)["choices"][0]["message"]["content"],
            complete(body).body["choices"][0]["text"]);
}

TEST_F(Compat, TheEngineInThePathIsTheModelWhenTheBodyNamesNone) {
  serve("other", 2);
  const json body = {{"prompt", "x"}, {"max_tokens", 1}};
  EXPECT_EQ(ok("/v1/engines/other/completions", body)["model"], "other");
  EXPECT_EQ(ok("/v1/engines/tiny/completions", body)["model"], "tiny");
  EXPECT_EQ(error("/v1/engines/nobody/completions", body, 404)["code"], "model_not_found");
}

}  // namespace
}  // namespace tristill::compat
