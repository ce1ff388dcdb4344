#include <cmath>

#include "tests/support/served_model.h"
#include "train/trace/jsonl.h"

namespace tristill::openai {
namespace {

using nlohmann::json;

class Score : public tests::ServedModelTest {
 protected:
  std::vector<std::string> lines(const json& body) {
    const auto response = call("POST", "/v1/score", body.dump());
    EXPECT_EQ(response.status, 200) << response.body;
    EXPECT_EQ(response.content_type, "application/x-ndjson");
    if (!response.stream) return {};
    tests::RecordingStream written;
    response.stream(written);
    std::vector<std::string> all;
    std::string text = written.text();
    for (size_t end; (end = text.find('\n')) != std::string::npos; text.erase(0, end + 1)) {
      all.push_back(text.substr(0, end));
    }
    EXPECT_EQ(text, "");
    return all;
  }
};

TEST_F(Score, EveryLineIsATraceRecord) {
  const auto all = lines({{"prompt", {"def f(x):", "return x"}}, {"top_logprobs", 5}});
  ASSERT_EQ(all.size(), 2U);
  for (const std::string& line : all) {
    const auto record = trace::parse_record(line);
    ASSERT_TRUE(record) << record.error().message;
    EXPECT_EQ(record->tokenizer, tokenizer_->fingerprint());
    EXPECT_EQ(record->teacher, "tiny");
    EXPECT_EQ(record->top_logprobs[1].size(), 5U);
  }
}

TEST_F(Score, TheScoresAreThoseOfAnEcho) {
  const std::string prompt = "def f(x):\n    return x";
  const json record = json::parse(lines({{"prompt", prompt}})[0]);
  const json echo =
      complete({{"prompt", prompt}, {"max_tokens", 0}, {"echo", true}, {"logprobs", 20}})
          .body["choices"][0]["logprobs"];
  EXPECT_EQ(record["tokens"], echo["token_ids"]);
  EXPECT_EQ(record["token_logprobs"], echo["token_logprobs"]);
  EXPECT_EQ(record["top_logprobs"], echo["top_token_ids"]);
  EXPECT_EQ(record["text"], prompt);
}

TEST_F(Score, ProbabilitiesAndTheirRestAreOne) {
  const json record = json::parse(lines({{"prompt", "import os\nx = 1"}})[0]);
  for (size_t i = 1; i < record["tokens"].size(); ++i) {
    double sum = std::exp(record["other_logprobs"][i].get<double>());
    bool listed = false;
    for (const json& pair : record["top_logprobs"][i]) {
      sum += std::exp(pair[1].get<double>());
      listed = listed || pair[0] == record["tokens"][i];
    }
    if (!listed) sum += std::exp(record["token_logprobs"][i].get<double>());
    EXPECT_NEAR(sum, 1, 1e-6);
  }
}

TEST_F(Score, AListForThoseWhoAskForJson) {
  http::Request request;
  request.method = "POST";
  request.path = "/v1/score";
  request.headers["accept"] = "application/json";
  request.body = R"({"prompt":["a b","c"],"top_logprobs":1})";
  request.client_gone = [] { return false; };
  const json body = json::parse(router_.route(request).body);
  EXPECT_EQ(body["data"].size(), 2U);
  EXPECT_EQ(body["usage"]["prompt_tokens"],
            body["data"][0]["tokens"].size() + body["data"][1]["tokens"].size());
}

// Each position's list: probabilities of N draws that sum to 1.
TEST_F(Score, DrawsAreSharesThatSumToOne) {
  const json body = {{"prompt", {"def f(x):", "def f(x):"}}, {"logprob_draws", 50}, {"seed", 7}};
  const auto all = lines(body);
  ASSERT_EQ(all.size(), 2U);
  size_t longest = 0;
  for (const std::string& line : all) {
    const auto record = trace::parse_record(line);
    ASSERT_TRUE(record) << record.error().message;
    for (size_t i = 1; i < record->tokens.size(); ++i) {
      double sum = 0;
      for (const trace::TopLogprob& top : record->top_logprobs[i]) {
        const double count = 50 * std::exp(static_cast<double>(top.logprob));
        EXPECT_NEAR(count, std::round(count), 1e-4);
        sum += std::exp(static_cast<double>(top.logprob));
      }
      EXPECT_NEAR(sum, 1, 1e-5);
      longest = std::max(longest, record->top_logprobs[i].size());
    }
  }
  EXPECT_GT(longest, 1U);
  EXPECT_NE(all[0], all[1]);  // one text twice: draws of their own
  EXPECT_EQ(lines(body), all);  // the same seed
}

TEST_F(Score, WhatCannotBeScoredIsRefusedBeforeAnythingIsAnswered) {
  const auto param = [&](const json& body) {
    const auto answer = ask("POST", "/v1/score", body.dump());
    EXPECT_EQ(answer.status, 400) << answer.response.body;
    return answer.body["error"]["param"];
  };
  EXPECT_EQ(param(json::object()), "prompt");
  EXPECT_EQ(param({{"prompt", {{1}, {9999}}}}), "prompt[1][0]");
  EXPECT_EQ(param({{"prompt", "x"}, {"top_logprobs", 65}}), "top_logprobs");
  EXPECT_EQ(param({{"prompt", "x"}, {"logprob_draws", 65}}), "logprob_draws");
  EXPECT_EQ(param({{"prompt", "x"}, {"logprob_draws", 5}, {"top_logprobs", 5}}), "logprob_draws");
}

}  // namespace
}  // namespace tristill::openai
