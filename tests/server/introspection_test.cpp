#include "server/ops/introspection.h"

#include "tests/support/served_model.h"

namespace tristill::ops {
namespace {

using Introspection = tests::ServedModelTest;

TEST_F(Introspection, PropsHaveWhatEditorsRead) {
  const auto answer = ask("GET", "/props");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body["default_generation_settings"]["n_ctx"], 256);
  EXPECT_EQ(answer.body["total_slots"], 16);
  EXPECT_EQ(answer.body["model_path"], "tiny.gguf");  // a name, not where it is
  EXPECT_EQ(answer.body["eos_token"], "</s>");
  EXPECT_EQ(answer.body["modalities"]["vision"], false);
  EXPECT_TRUE(answer.body["build_info"].get<std::string>().starts_with("tristill-"));
}

TEST_F(Introspection, OfSeveralModelsOneIsChosen) {
  serve("other", 2);
  for (const std::string path : {"/props", "/tokenizer_info", "/slots"}) {
    EXPECT_EQ(ask("GET", path).status, 404) << path;
    EXPECT_EQ(ask("GET", path + "?model=none").body["error"]["code"], "model_not_found") << path;
    EXPECT_EQ(ask("GET", path + "?model=other").status, 200) << path;
  }
  EXPECT_EQ(ask("GET", "/props?model=other").body["model_alias"], "other");
}

TEST_F(Introspection, TheTokenizerIsDescribed) {
  const auto answer = ask("GET", "/tokenizer_info");
  EXPECT_EQ(answer.body["vocab_size"], tokenizer_->vocab_size());
  EXPECT_EQ(answer.body["model_max_length"], 256);
  EXPECT_EQ(answer.body["eos_token"], "</s>");
  EXPECT_TRUE(answer.body["bos_token"].is_null());
  EXPECT_TRUE(answer.body.contains("pad_token"));
  EXPECT_TRUE(answer.body.contains("chat_template"));
  const std::string prefix = std::to_string(tokenizer_->special().fim_prefix);
  EXPECT_EQ(answer.body["added_tokens_decoder"][prefix]["content"], "<fim_prefix>");
}

TEST_F(Introspection, AModelsOwnTemplateIsShownWhereItIsUsed) {
  const std::string source = "{% for m in messages %}{{ m.content }}{% endfor %}";
  const auto path = folder_.path() / "talker.gguf";
  ASSERT_TRUE(write_model_file(path, test::random_model(), *tokenizer_, {}, source));
  ASSERT_TRUE(registry_.publish("talker", path));
  for (const std::string route : {"/props", "/tokenizer_info"}) {
    EXPECT_EQ(ask("GET", route + "?model=talker").body["chat_template"], source) << route;
    EXPECT_EQ(ask("GET", route + "?model=tiny").body["chat_template"], nullptr) << route;
  }
}

TEST_F(Introspection, TheVersionIsThatOfTheBuild) {
  const std::string version = ask("GET", "/version").body["version"];
  EXPECT_EQ("tristill-" + version, ask("GET", "/props").body["build_info"]);
}

TEST_F(Introspection, AFreeSlotIsListedAsOne) {
  const auto answer = ask("GET", "/slots?fail_on_no_slot=1");
  EXPECT_EQ(answer.status, 200);
  ASSERT_EQ(answer.body.size(), 16U);
  EXPECT_EQ(answer.body[3]["id"], 3);
  EXPECT_EQ(answer.body[3]["is_processing"], false);
  EXPECT_EQ(answer.body[3]["n_ctx"], 256);
}

class OneSlot : public tests::ServedModelTest {
 protected:
  OneSlot() : ServedModelTest(engine::EngineOptions{.n_threads = 1, .max_sequences = 1}) {}
};

// Work comes until somebody is seen at it.
TEST_F(OneSlot, WhenNoneIsFreeThatIsSaidWhereItIsAskedFor) {
  std::vector<engine::Generation> work;
  const auto until_busy = [&](const std::function<bool()>& condition) {
    return tests::until([&] {
      auto more = registry_.exact("tiny")->engine->submit(
          {.prompt = {5, 6}, .max_tokens = 200, .ignore_eos = true});
      if (more) work.push_back(std::move(*more));
      return condition();
    });
  };
  EXPECT_TRUE(until_busy([&] {
    const auto answer = ask("GET", "/slots?fail_on_no_slot=1");
    return answer.status == 503 && answer.body["error"]["code"] == "no_slot_available";
  }));
  EXPECT_TRUE(until_busy([&] {
    const auto slot = ask("GET", "/slots").body[0];
    return slot["is_processing"] == true && slot["n_prompt_tokens"] == 2;
  }));
  work.clear();
  EXPECT_TRUE(tests::until([&] { return ask("GET", "/slots?fail_on_no_slot=1").status == 200; }));
}

TEST_F(Introspection, ABusySlotTellsHowFarItIs) {
  const std::vector<engine::RunningView> running = {
      {.place = 2, .n_prompt = 30, .n_prompt_done = 30, .n_output = 4, .max_tokens = 10},
      {.place = 99}};
  const auto slots = slots_json(*registry_.exact("tiny"), running);
  ASSERT_EQ(slots.size(), 16U);
  EXPECT_EQ(slots[1]["is_processing"], false);
  EXPECT_EQ(slots[2]["is_processing"], true);
  EXPECT_EQ(slots[2]["n_prompt_tokens"], 30);
  EXPECT_EQ(slots[2]["n_prompt_tokens_processed"], 30);
  EXPECT_EQ(slots[2]["next_token"]["n_decoded"], 4);
  EXPECT_EQ(slots[2]["next_token"]["n_remain"], 6);
}

}  // namespace
}  // namespace tristill::ops
