#include "base/utf8.h"
#include "model/tokenizer/fim.h"
#include "tests/support/served_model.h"

namespace tristill::openai {
namespace {

using nlohmann::json;

class Completions : public tests::ServedModelTest {
 protected:
  static json scored(json body) {
    body["logprobs"] = 3;
    return body;
  }
  // Does not say one token again and again, as tiny models like to.
  static json varied(json body) {
    body["temperature"] = 2;
    body["frequency_penalty"] = 2;
    body["ignore_eos"] = true;
    return body;
  }
  // The texts of a stream by index, checking that each index finishes once and last.
  static std::map<int, json> joined(const std::vector<json>& chunks) {
    std::map<int, json> choices;
    for (const json& chunk : chunks) {
      for (const json& choice : chunk["choices"]) {
        json& whole = choices[choice["index"].get<int>()];
        if (whole.is_null())
          whole = {{"text", ""}, {"finish_reason", nullptr}, {"tokens", json::array()}};
        EXPECT_TRUE(whole["finish_reason"].is_null()) << "text after the end";
        whole["text"] = whole["text"].get<std::string>() + choice["text"].get<std::string>();
        whole["finish_reason"] = choice["finish_reason"];
        if (choice["logprobs"].is_object()) {
          for (const json& token : choice["logprobs"]["token_ids"])
            whole["tokens"].push_back(token);
        }
      }
    }
    return choices;
  }
};

TEST_F(Completions, AnAnswerHasTheObjectsFields) {
  const auto answer =
      complete({{"prompt", "def f("}, {"max_tokens", 4}, {"seed", 1}, {"ignore_eos", true}});
  ASSERT_EQ(answer.status, 200);
  const json& body = answer.body;
  EXPECT_TRUE(body["id"].get<std::string>().starts_with("cmpl-"));
  EXPECT_EQ(body["object"], "text_completion");
  EXPECT_EQ(body["model"], "tiny");
  EXPECT_GT(body["created"], 1700000000);
  ASSERT_EQ(body["choices"].size(), 1U);
  const json& choice = body["choices"][0];
  EXPECT_EQ(choice["index"], 0);
  EXPECT_EQ(choice["finish_reason"], "length");
  EXPECT_TRUE(choice.at("logprobs").is_null());
  const auto n_prompt = tokenizer_->encode("def f(").size();
  EXPECT_EQ(body["usage"]["prompt_tokens"], n_prompt);
  EXPECT_EQ(body["usage"]["completion_tokens"], 4);
  EXPECT_EQ(body["usage"]["total_tokens"], n_prompt + 4);
  EXPECT_EQ(body["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
}

TEST_F(Completions, ARepeatedPromptIsCountedAsCached) {
  const json body = {{"prompt", "def fibonacci(n):\n    return n"}, {"max_tokens", 1}, {"seed", 1}};
  complete(body);
  const json usage = complete(body).body["usage"];
  const int n_prompt = usage["prompt_tokens"];
  EXPECT_EQ(usage["prompt_tokens_details"]["cached_tokens"], (n_prompt - 1) / 16 * 16);
}

TEST_F(Completions, APredictionChangesTheWorkAndNotTheText) {
  json body = {{"prompt", "x"}, {"max_tokens", 24}, {"seed", 9}, {"ignore_eos", true}};
  const auto plain = complete(body).body;
  const std::string text = plain["choices"][0]["text"];
  for (const json& content : {json(text), json{{{"type", "text"}, {"text", text}}}}) {
    body["prediction"] = {{"type", "content"}, {"content", content}};
    const auto predicted = complete(body).body;
    EXPECT_EQ(predicted["choices"], plain["choices"]);
    const json& details = predicted["usage"]["completion_tokens_details"];
    EXPECT_GE(details["accepted_prediction_tokens"].get<int>() +
                  details["rejected_prediction_tokens"].get<int>(),
              1);
  }
  for (const json& wrong : {json("x"), json::object(), json{{"type", "content"}},
                            json{{"type", "content"}, {"content", 5}},
                            json{{"type", "content"}, {"content", {{{"type", "image"}}}}}}) {
    body["prediction"] = wrong;
    const auto refused = complete(body);
    EXPECT_EQ(refused.status, 400);
    EXPECT_EQ(refused.body["error"]["param"], "prediction");
  }
}

TEST_F(Completions, SixteenTokensWhenNothingIsSaid) {
  const auto answer = complete({{"prompt", "x"}, {"seed", 1}, {"ignore_eos", true}});
  EXPECT_EQ(answer.body["usage"]["completion_tokens"], 16);
}

TEST_F(Completions, TheShortPathIsTheSame) {
  const std::string body = R"({"prompt":"x","seed":1,"max_tokens":5})";
  EXPECT_EQ(ask("POST", "/completions", body).body["choices"],
            ask("POST", "/v1/completions", body).body["choices"]);
}

TEST_F(Completions, ASeedDecidesTheTextAndNoSeedIsRandom) {
  const json body = varied({{"prompt", "x"}, {"max_tokens", 24}, {"seed", 5}});
  EXPECT_EQ(complete(body).body["choices"], complete(body).body["choices"]);
  json other = body;
  other["seed"] = 6;
  EXPECT_NE(complete(other).body["choices"], complete(body).body["choices"]);
  json unseeded = body;
  unseeded.erase("seed");
  EXPECT_NE(complete(unseeded).body["choices"], complete(unseeded).body["choices"]);
}

TEST_F(Completions, ChoicesAreNumberedByPromptThenSample) {
  const json together = {{"prompt", {"a", "b"}}, {"n", 3}, {"max_tokens", 3}, {"temperature", 0}};
  const auto choices = complete(together).body["choices"];
  ASSERT_EQ(choices.size(), 6U);
  for (const char* prompt : {"a", "b"}) {
    const auto alone = complete({{"prompt", prompt}, {"max_tokens", 3}, {"temperature", 0}});
    const size_t first = *prompt == 'a' ? 0 : 3;
    for (size_t i = first; i < first + 3; ++i) {
      EXPECT_EQ(choices[i]["index"], i);
      EXPECT_EQ(choices[i]["text"], alone.body["choices"][0]["text"]);
    }
  }
}

TEST_F(Completions, SamplesOfOneSeedDiffer) {
  const auto choices =
      complete(varied({{"prompt", "a"}, {"n", 4}, {"max_tokens", 16}, {"seed", 1}}))
          .body["choices"];
  EXPECT_NE(choices[0]["text"], choices[1]["text"]);
}

TEST_F(Completions, AStreamGivesTheSameChoices) {
  for (int seed = 0; seed < 8; ++seed) {
    const json body = varied(scored({{"prompt", {"def f(", "x"}},
                                     {"n", 2},
                                     {"max_tokens", 30},
                                     {"seed", seed},
                                     {"stop", {"A", "r("}}}));
    const auto whole = complete(body).body["choices"];
    const auto streamed = joined(stream(body));
    ASSERT_EQ(streamed.size(), 4U);
    for (int i = 0; i < 4; ++i) {
      EXPECT_EQ(streamed.at(i)["text"], whole[i]["text"]) << "seed " << seed;
      EXPECT_EQ(streamed.at(i)["finish_reason"], whole[i]["finish_reason"]);
      EXPECT_EQ(streamed.at(i)["tokens"], whole[i]["logprobs"]["token_ids"]);
    }
  }
}

TEST_F(Completions, AStreamsChunksAgreeAndUsageComesOnlyWhenAskedFor) {
  json body = {{"prompt", "x"}, {"max_tokens", 5}, {"seed", 2}};
  for (const json& chunk : stream(body)) {
    EXPECT_FALSE(chunk.contains("usage"));
    EXPECT_EQ(chunk["object"], "text_completion");
    EXPECT_EQ(chunk["choices"].size(), 1U);
  }
  body["stream_options"] = {{"include_usage", true}};
  const auto chunks = stream(body);
  for (size_t i = 0; i + 1 < chunks.size(); ++i) {
    EXPECT_TRUE(chunks[i].at("usage").is_null());
    EXPECT_EQ(chunks[i]["id"], chunks.back()["id"]);
    EXPECT_EQ(chunks[i]["created"], chunks.back()["created"]);
  }
  EXPECT_TRUE(chunks.back()["choices"].empty());
  EXPECT_EQ(chunks.back()["usage"]["total_tokens"], complete(body).body["usage"]["total_tokens"]);
}

TEST_F(Completions, TheLastChunkOfFullLengthHasText) {
  for (int seed = 0; seed < 20; ++seed) {
    const auto chunks =
        stream({{"prompt", "def "},
                {"max_tokens", 8},
                {"seed", seed},
                {"ignore_eos", true},
                {"logit_bias", {{"312", 100}}}});  // one printable token, again and again
    EXPECT_NE(chunks.back()["choices"][0]["text"], "");
    EXPECT_EQ(chunks.back()["choices"][0]["finish_reason"], "length");
  }
}

TEST_F(Completions, AStopTextEndsBeforeItself) {
  const json body = varied({{"prompt", "x"}, {"max_tokens", 40}, {"seed", 3}});
  const std::string text = complete(body).body["choices"][0]["text"];
  ASSERT_GE(utf8_length(text), 8U) << text;
  // Plain characters: U+FFFD may stand for bytes that are no text.
  const auto plain = [&](size_t at) { return at < text.size() && (text[at] & 0x80) == 0; };
  size_t from = text.size() / 3;
  while (from < text.size() && !(plain(from) && plain(from + 1))) ++from;
  const std::string stop = text.substr(from, 2);
  ASSERT_EQ(stop.size(), 2U) << text;
  json stopped = scored(body);
  stopped["stop"] = stop;
  const auto choice = complete(stopped).body["choices"][0];
  EXPECT_EQ(choice["text"], text.substr(0, text.find(stop)));
  EXPECT_EQ(choice["finish_reason"], "stop");
  // Every token that is shown starts before the cut.
  const json& offsets = choice["logprobs"]["text_offset"];
  for (const json& offset : offsets) {
    EXPECT_LT(offset.get<size_t>(), 1 + utf8_length(choice["text"].get<std::string>()));
  }
}

TEST_F(Completions, AStopTokenEndsAndIsNotShown) {
  const json body =
      scored({{"prompt", "x"}, {"max_tokens", 10}, {"temperature", 0}, {"ignore_eos", true}});
  const auto ids = complete(body).body["choices"][0]["logprobs"]["token_ids"];
  json stopped = body;
  stopped["stop_token_ids"] = {ids[4]};
  const auto choice = complete(stopped).body["choices"][0];
  EXPECT_EQ(choice["finish_reason"], "stop");
  for (const json& id : choice["logprobs"]["token_ids"]) EXPECT_NE(id, ids[4]);
}

TEST_F(Completions, LogprobsHaveFourArraysOfOneLength) {
  const auto logprobs =
      complete(scored({{"prompt", "def f("}, {"max_tokens", 6}, {"seed", 1}, {"ignore_eos", true}}))
          .body["choices"][0]["logprobs"];
  for (const char* name :
       {"tokens", "token_logprobs", "top_logprobs", "text_offset", "token_ids", "top_token_ids"}) {
    EXPECT_EQ(logprobs[name].size(), 6U) << name;
  }
  for (size_t i = 0; i < 6; ++i) {
    const json& top = logprobs["top_logprobs"][i];
    EXPECT_GE(top.size(), 3U);
    EXPECT_LE(top.size(), 4U);
    // The same double, digit by digit: clients compare them with ==.
    const std::string token = logprobs["tokens"][i];
    ASSERT_TRUE(top.contains(token));
    EXPECT_GE(top[token].get<double>(), logprobs["token_logprobs"][i].get<double>());
    EXPECT_EQ(logprobs["top_token_ids"][i].size(), 3U);
  }
}

TEST_F(Completions, TheGreedyTokenIsTheMaximumOfItsTop) {
  const auto logprobs = complete(scored({{"prompt", "x"}, {"max_tokens", 12}, {"temperature", 0}}))
                            .body["choices"][0]["logprobs"];
  for (size_t i = 0; i < logprobs["tokens"].size(); ++i) {
    double most = -1e9;
    for (const auto& [token, value] : logprobs["top_logprobs"][i].items()) {
      most = std::max(most, value.get<double>());
    }
    EXPECT_EQ(logprobs["token_logprobs"][i].get<double>(), most);
    EXPECT_EQ(logprobs["top_token_ids"][i][0][0], logprobs["token_ids"][i]);
  }
}

TEST_F(Completions, LogprobsZeroShowsTheChosenTokenAlone) {
  const auto logprobs = complete({{"prompt", "x"}, {"max_tokens", 4}, {"logprobs", 0}, {"seed", 1}})
                            .body["choices"][0]["logprobs"];
  for (const json& top : logprobs["top_logprobs"]) EXPECT_EQ(top.size(), 1U);
}

TEST_F(Completions, EchoScoresThePromptAndZeroTokensGenerateNothing) {
  const std::string prompt = "def f(x):\n    return x";
  const auto answer = complete(scored({{"prompt", prompt}, {"max_tokens", 0}, {"echo", true}}));
  const json& choice = answer.body["choices"][0];
  EXPECT_EQ(choice["text"], prompt);
  EXPECT_EQ(choice["finish_reason"], "length");
  EXPECT_EQ(answer.body["usage"]["completion_tokens"], 0);
  const json& logprobs = choice["logprobs"];
  EXPECT_EQ(logprobs["token_ids"], json(tokenizer_->encode(prompt)));
  EXPECT_TRUE(logprobs["token_logprobs"][0].is_null());
  EXPECT_TRUE(logprobs["top_logprobs"][0].is_null());
  for (size_t i = 1; i < logprobs["tokens"].size(); ++i) {
    EXPECT_LE(logprobs["token_logprobs"][i].get<double>(), 0);
  }
}

TEST_F(Completions, EchoedAndGeneratedLogprobsAgree) {
  const json body =
      scored({{"prompt", "def f("}, {"max_tokens", 6}, {"temperature", 0}, {"ignore_eos", true}});
  const auto generated = complete(body).body["choices"][0]["logprobs"];
  auto ids = tokenizer_->encode("def f(");
  const size_t n_prompt = ids.size();
  for (const json& id : generated["token_ids"]) ids.push_back(id.get<TokenId>());
  const auto scored_again = complete(scored({{"prompt", ids}, {"max_tokens", 0}, {"echo", true}}))
                                .body["choices"][0]["logprobs"];
  for (size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(scored_again["token_logprobs"][n_prompt + i], generated["token_logprobs"][i]);
    EXPECT_EQ(scored_again["top_logprobs"][n_prompt + i], generated["top_logprobs"][i]);
  }
}

TEST_F(Completions, OffsetsCountCharactersFromThePromptsStart) {
  const std::string prompt =
      "x = \"\xc3\xa9\xe2\x82\xac\"";  // byte tokens: characters of 2 and 3 bytes
  json body = scored(
      {{"prompt", prompt}, {"max_tokens", 8}, {"seed", 4}, {"echo", true}, {"ignore_eos", true}});
  const auto echoed = complete(body).body["choices"][0];
  const json& offsets = echoed["logprobs"]["text_offset"];
  const auto ids = tokenizer_->encode(prompt);
  std::string before;
  for (size_t i = 0; i < ids.size(); ++i) {
    const size_t whole = utf8_whole_prefix(before);
    EXPECT_EQ(offsets[i], utf8_length(std::string_view(before).substr(0, whole))) << i;
    before += tokenizer_->bytes_of(ids[i]);
  }
  EXPECT_EQ(offsets[ids.size()], utf8_length(prompt));
  body["echo"] = false;
  const auto plain = complete(body).body["choices"][0]["logprobs"]["text_offset"];
  for (size_t i = 0; i < plain.size(); ++i) EXPECT_EQ(plain[i], offsets[ids.size() + i]);
}

TEST_F(Completions, EchoWithoutLogprobsPutsThePromptFirst) {
  json body = {{"prompt", "def f("}, {"max_tokens", 5}, {"seed", 1}};
  const std::string plain = complete(body).body["choices"][0]["text"];
  body["echo"] = true;
  EXPECT_EQ(complete(body).body["choices"][0]["text"], "def f(" + plain);
  EXPECT_EQ(joined(stream(body)).at(0)["text"], "def f(" + plain);
}

TEST_F(Completions, ASuffixIsFillInTheMiddle) {
  const json body = {
      {"prompt", "def f("}, {"suffix", "return x"}, {"max_tokens", 6}, {"temperature", 0}};
  const auto ids = fim_prompt(*tokenizer_, "def f(", "return x");
  ASSERT_TRUE(ids);
  const json same = {{"prompt", *ids}, {"max_tokens", 6}, {"temperature", 0}};
  EXPECT_EQ(complete(body).body["choices"][0]["text"], complete(same).body["choices"][0]["text"]);
  EXPECT_EQ(complete(body).body["usage"]["prompt_tokens"], ids->size());
  json echoed = body;
  echoed["echo"] = true;
  const std::string text = complete(echoed).body["choices"][0]["text"];
  EXPECT_EQ(text, "def f(" + complete(body).body["choices"][0]["text"].get<std::string>());
}

TEST_F(Completions, AnEmptyPromptStandsAfterTheEndOfADocument) {
  const json eos = {{"prompt", {tokenizer_->special().eos}}, {"max_tokens", 6}, {"temperature", 0}};
  const json empty = {{"prompt", ""}, {"max_tokens", 6}, {"temperature", 0}};
  EXPECT_EQ(complete(empty).body["choices"], complete(eos).body["choices"]);
}

TEST_F(Completions, TextIsAlwaysWholeCharacters) {
  for (int seed = 0; seed < 20; ++seed) {
    const json body = varied({{"prompt", "x"}, {"max_tokens", 60}, {"seed", seed}});
    const std::string whole = complete(body).body["choices"][0]["text"];
    std::string text;
    for (const json& chunk : stream(body)) text += chunk["choices"][0]["text"].get<std::string>();
    EXPECT_EQ(text, whole) << seed;
  }
}

TEST_F(Completions, MaxTokensIsCutToTheContext) {
  const auto answer =
      complete({{"prompt", std::vector<int>(250, 5)}, {"max_tokens", 100}, {"ignore_eos", true}});
  EXPECT_EQ(answer.body["usage"]["completion_tokens"], 6);
  EXPECT_EQ(answer.body["choices"][0]["finish_reason"], "length");
}

TEST_F(Completions, StrictRefusesWhatTheSpecificationDoesNotHave) {
  const json lenient[] = {{{"prompt", "x"}, {"surprise", 1}},
                          {{"prompt", "x"}, {"logprobs", 6}},
                          {{"prompt", "x"}, {"stop", {"a", "b", "c", "d", "e"}}},
                          {{"prompt", "x"}, {"stream_options", {{"include_usage", true}}}}};
  const char* params[] = {"surprise", "logprobs", "stop", "stream_options"};
  for (const json& body : lenient) EXPECT_EQ(complete(body).status, 200) << body;
  services_.strict = true;
  for (size_t i = 0; i < 4; ++i) {
    const auto answer = complete(lenient[i]);
    EXPECT_EQ(answer.status, 400) << lenient[i];
    EXPECT_EQ(answer.body["error"]["param"], params[i]);
  }
  EXPECT_EQ(complete({{"prompt", "x"}, {"logprobs", 5}}).status, 200);
}

TEST_F(Completions, AClientThatLeftIsCancelled) {
  client_gone_ = [] { return true; };
  const auto answer =
      complete({{"prompt", "x"}, {"max_tokens", 200}, {"ignore_eos", true}, {"n", 16}});
  EXPECT_EQ(answer.status, 499);
  const auto served = registry_.exact("tiny");
  EXPECT_TRUE(tests::until([&] { return served->engine->idle(); }));
  const std::string text = metrics_.text();
  int n_cancelled = 0;
  for (const std::string phase : {"queue", "prefill", "decode"}) {  // as far as it had come
    const std::string name = "tristill_requests_cancelled_total{model_name=\"tiny\",phase=\"";
    n_cancelled += text.find(name + phase + "\"} 1\n") != std::string::npos ? 1 : 0;
  }
  EXPECT_EQ(n_cancelled, 1);
}

TEST_F(Completions, AStreamWhoseClientLeavesEndsAndFreesItsSequences) {
  const auto response =
      call("POST", "/v1/completions",
           R"({"prompt":"x","max_tokens":200,"ignore_eos":true,"n":16,"stream":true})");
  tests::RecordingStream writer;
  writer.leave();
  response.stream(writer);
  EXPECT_EQ(writer.text().find("[DONE]"), std::string::npos);
}

TEST_F(Completions, WhenTheDaemonMustEndChoicesAreCutShort) {
  registry_.cut();
  const auto answer = complete({{"prompt", "x"}, {"max_tokens", 200}, {"ignore_eos", true}});
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body["choices"][0]["finish_reason"], "length");
  EXPECT_LT(answer.body["usage"]["completion_tokens"], 200);
}

TEST_F(Completions, WhileDrainingNewOnesAreRefused) {
  registry_.drain();
  const auto answer = complete({{"prompt", "x"}});
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(answer.body["error"]["type"], "unavailable_error");
  EXPECT_EQ(answer.response.headers.at("Retry-After"), "1");
}

TEST_F(Completions, AnUnknownModelIsNamedWhenSeveralAreServed) {
  serve("other", 2);
  const auto answer = complete({{"model", "nobody"}, {"prompt", "x"}});
  EXPECT_EQ(answer.status, 404);
  EXPECT_EQ(answer.body["error"]["code"], "model_not_found");
  EXPECT_EQ(answer.body["error"]["param"], "model");
  EXPECT_NE(answer.body["error"]["message"].get<std::string>().find("other, tiny"),
            std::string::npos);
  EXPECT_EQ(complete({{"model", "other"}, {"prompt", "x"}, {"max_tokens", 1}}).body["model"],
            "other");
  EXPECT_EQ(complete({{"prompt", "x"}}).status, 404);
}

class SmallQueue : public tests::ServedModelTest {
 protected:
  SmallQueue() : SmallQueue(std::make_shared<ThreadTeam>(1)) {}
  explicit SmallQueue(const std::shared_ptr<ThreadTeam>& team)
      : ServedModelTest({.max_sequences = 2, .max_queue = 2, .team = team}), team_(team) {}

  const std::shared_ptr<ThreadTeam> team_;
};

TEST_F(SmallQueue, AFullQueueIs429AndLeavesNothingBehind) {
  const auto served = registry_.exact("tiny");
  {
    const ThreadTeam::Turn turn(*team_);  // no engine computes meanwhile
    std::vector<engine::GenerationRequest> three(3, {.prompt = {1}, .max_tokens = 2});
    const auto live = served->engine->submit_all(three);
    ASSERT_TRUE(live) << live.error().message;
    const auto answer = complete({{"prompt", "x"}, {"n", 2}, {"max_tokens", 2}});
    ASSERT_EQ(answer.status, 429);
    EXPECT_EQ(answer.body.at("error").at("code"), "queue_full");
    EXPECT_EQ(answer.response.headers.at("Retry-After"), "1");
    EXPECT_EQ(served->engine->stats().waiting + served->engine->stats().running, 3U);
  }
  EXPECT_TRUE(tests::until([&] { return served->engine->idle(); }));
  EXPECT_EQ(complete({{"prompt", "x"}, {"n", 4}, {"max_tokens", 2}}).status, 200);
}

TEST_F(SmallQueue, MoreThanItEverHoldsIs400) {
  const auto answer = complete({{"prompt", {"x", "y", "z"}}, {"n", 2}, {"max_tokens", 2}});
  ASSERT_EQ(answer.status, 400);
  EXPECT_EQ(answer.body.at("error").at("param"), "n");
  EXPECT_NE(answer.body.at("error").at("message").get<std::string>().find("up to 4"),
            std::string::npos);
}

}  // namespace
}  // namespace tristill::openai
