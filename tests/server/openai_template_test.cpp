// POST /apply-template and /tokenize with messages; what a conversation's refusals name.
#include "server/openai/messages.h"
#include "tests/support/served_model.h"

namespace tristill::openai {
namespace {

using nlohmann::json;

constexpr const char* kOwnTemplate =
    "{% for m in messages %}<file_sep>{{ m.role }} {{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<file_sep>assistant {% endif %}{{ extra }}"
    "{% if tools %}{{ tools | tojson }}{% endif %}";

class Templates : public tests::ServedModelTest {
 protected:
  tests::Answer apply(const json& body) { return ask("POST", "/apply-template", body.dump()); }
  tests::Answer tokenize(const json& body) { return ask("POST", "/tokenize", body.dump()); }

  void serve_with(const std::string& name, const std::string& chat_template) {
    const auto path = folder_.path() / (name + ".gguf");
    const auto written =
        write_model_file(path, test::random_model(), *tokenizer_, {}, chat_template);
    ASSERT_TRUE(written) << written.error().message;
    ASSERT_TRUE(registry_.publish(name, path));
  }
};

const json kHi = json::array({{{"role", "user"}, {"content", "Hi"}}});

TEST_F(Templates, AModelWithoutOneIsAskedInPlainParagraphs) {
  const auto answer = apply({{"messages", kHi}});
  ASSERT_EQ(answer.status, 200) << answer.response.body;
  EXPECT_EQ(answer.body, (json{{"prompt", "user: Hi\n\nassistant:"}}));
  EXPECT_EQ(answer.response.headers.at("x-chat-template"), "plain");
}

TEST_F(Templates, TheModelsOwnIsUsed) {
  serve_with("own", kOwnTemplate);
  const auto prompt = [&](json body) {
    body["model"] = "own";
    const auto answer = apply(body);
    EXPECT_EQ(answer.status, 200) << answer.response.body;
    EXPECT_EQ(answer.response.headers.at("x-chat-template"), "model");
    return answer.body.value("prompt", "");
  };
  EXPECT_EQ(prompt({{"messages", kHi}}), "<file_sep>user Hi</s><file_sep>assistant ");
  EXPECT_EQ(prompt({{"messages", kHi}, {"add_generation_prompt", false}}), "<file_sep>user Hi</s>");
  EXPECT_EQ(prompt({{"messages", kHi}, {"continue_final_message", true}}), "<file_sep>user Hi");
  EXPECT_EQ(prompt({{"messages", kHi}, {"chat_template_kwargs", {{"extra", 5}}}}),
            "<file_sep>user Hi</s><file_sep>assistant 5");
  const auto body = R"({"model":"own","messages":[{"role":"user","content":""}],)"
                    R"("add_generation_prompt":false,"tools":[{"z":1,"a":2}]})";
  EXPECT_EQ(ask("POST", "/apply-template", body).body.at("prompt"),
            "<file_sep>user </s>[{\"z\": 1, \"a\": 2}]");
  EXPECT_EQ(registry_.exact("own")->turn_ends, std::vector<TokenId>{tokenizer_->special().eos});
}

TEST_F(Templates, PartsOfTextAreJoined) {
  const auto answer = apply(
      {{"messages",
        {{{"role", "user"},
          {"content", {{{"type", "text"}, {"text", "a"}}, {{"type", "text"}, {"text", "b"}}}}}}}});
  ASSERT_EQ(answer.status, 200) << answer.response.body;
  EXPECT_EQ(answer.body.at("prompt"), "user: a\nb\n\nassistant:");
}

TEST_F(Templates, TokensOfAConversationHaveControlTokensOfTheTemplateAlone) {
  serve_with("own", kOwnTemplate);
  const auto answer = tokenize({{"model", "own"},
                                {"messages", {{{"role", "user"}, {"content", "</s>"}}}},
                                {"add_generation_prompt", false},
                                {"return_token_strs", true}});
  ASSERT_EQ(answer.status, 200) << answer.response.body;
  std::vector<TokenId> expected = {tokenizer_->special().file_sep};
  for (const TokenId id : tokenizer_->encode("user </s>")) expected.push_back(id);
  expected.push_back(tokenizer_->special().eos);
  EXPECT_EQ(answer.body.at("tokens"), json(expected));
  EXPECT_EQ(answer.body.at("token_strs").size(), expected.size());
  EXPECT_EQ(answer.response.headers.at("x-chat-template"), "model");
}

TEST_F(Templates, ABrokenTemplateKeepsNoModelFromBeingServed) {
  serve_with("broken", "{% if %}");
  EXPECT_EQ(
      ask("POST", "/v1/completions", R"({"model":"broken","prompt":"a","max_tokens":1})").status,
      200);
  const auto answer = apply({{"model", "broken"}, {"messages", kHi}});
  EXPECT_EQ(answer.status, 422);
  EXPECT_EQ(
      answer.body.at("error").at("message"),
      "the model broken cannot chat: the chat template: line 1: expected an expression, found "
      "%}; the setting chat_template gives it another");
  EXPECT_EQ(tokenize({{"model", "broken"}, {"messages", kHi}}).status, 422);
  serve_with("refuses", "{{ raise_exception('never') }}");
  const auto refused = apply({{"model", "refuses"}, {"messages", kHi}});
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(refused.body.at("error").at("message"), "the chat template \"model\": never");
  EXPECT_EQ(refused.body.at("error").at("param"), "messages");
}

TEST_F(Templates, AChosenTemplateIsForAllModels) {
  registry_.use_chat_template({"chatml", ""});
  serve_with("own", kOwnTemplate);
  const auto answer = apply({{"model", "own"}, {"messages", kHi}});
  EXPECT_EQ(answer.body.at("prompt"), "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(answer.response.headers.at("x-chat-template"), "chatml");
}

TEST_F(Templates, RefusalsNameTheField) {
  const auto expect_refused = [&](const json& body, const char* param) {
    const auto answer = apply(body);
    EXPECT_EQ(answer.status, 400) << body;
    EXPECT_EQ(answer.body.at("error").at("param"), param) << answer.response.body;
  };
  const auto expect_message = [&](const char* message, const char* param) {
    expect_refused({{"messages", json::array({kHi[0], json::parse(message)})}}, param);
  };
  expect_refused(json::object(), "messages");
  expect_refused({{"messages", json::array()}}, "messages");
  expect_refused({{"messages", "Hi"}}, "messages");
  expect_refused({{"messages", {1}}}, "messages[0]");
  expect_refused({{"messages", kHi}, {"tools", {1}}}, "tools");
  expect_refused({{"messages", kHi}, {"chat_template_kwargs", 1}}, "chat_template_kwargs");
  expect_refused(
      {{"messages", kHi}, {"continue_final_message", true}, {"add_generation_prompt", true}},
      "continue_final_message");
  expect_message(R"({"content": "a"})", "messages[1].role");
  expect_message(R"({"role": "robot", "content": "a"})", "messages[1].role");
  expect_message(R"({"role": "user"})", "messages[1].content");
  expect_message(R"({"role": "assistant", "content": null})", "messages[1].content");
  expect_message(R"({"role": "user", "content": 5})", "messages[1].content");
  expect_message(R"({"role": "user", "content": []})", "messages[1].content");
  expect_message(R"({"role": "user", "content": ["a"]})", "messages[1].content[0]");
  expect_message(R"({"role": "user", "content": [{"type": "image_url"}]})",
                 "messages[1].content[0].type");
  expect_message(R"({"role": "user", "content": [{"type": "text"}]})",
                 "messages[1].content[0].text");
  expect_message(R"({"role": "user", "content": "a", "name": 1})", "messages[1].name");
  expect_message(R"({"role": "tool", "content": "a", "tool_call_id": 1})",
                 "messages[1].tool_call_id");
  expect_message(R"({"role": "assistant", "tool_calls": 1})", "messages[1].tool_calls");
  expect_message(R"({"role": "assistant", "tool_calls": [{"type": "x"}]})",
                 "messages[1].tool_calls[0].type");
  expect_message(R"({"role": "assistant", "tool_calls": [{"function": {"arguments": "{}"}}]})",
                 "messages[1].tool_calls[0].function.name");
  expect_message(R"({"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]})",
                 "messages[1].tool_calls[0].function.arguments");
  const json name = {{"role", "user"}, {"content", "a"}, {"name", std::string(300, 'a')}};
  expect_refused({{"messages", {name}}}, "messages[0].name");
  json many = json::array();
  for (size_t i = 0; i <= kMaxMessages; ++i) many.push_back(kHi[0]);
  expect_refused({{"messages", many}}, "messages");
}

TEST(Messages, ArgumentsOfACallBecomeADictionaryInTheirOrder) {
  const auto parsed = parse_messages(
      json::parse(R"([{"role": "assistant", "tool_calls": [{"id": "c", "type": "function",)"
                  R"("function": {"name": "f", "arguments": "{\"z\": 1, \"a\": [2]}"}},)"
                  R"({"function": {"name": "g", "arguments": "no JSON"}}]}])"));
  ASSERT_TRUE(parsed) << parsed.error().message;
  const auto& calls = parsed->front().tool_calls;
  ASSERT_EQ(calls.size(), 2U);
  EXPECT_EQ(calls[0].id, "c");
  const jinja::Dict* arguments = jinja::dict_of(calls[0].arguments);
  ASSERT_NE(arguments, nullptr);
  EXPECT_EQ(jinja::text_of(arguments->entries[0].first)->bytes(), "z");
  EXPECT_EQ(jinja::text_of(calls[1].arguments)->bytes(), "no JSON");
  EXPECT_FALSE(parsed->front().content);
}

}  // namespace
}  // namespace tristill::openai
