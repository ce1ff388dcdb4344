// The form of the output as requests name it, and how they are refused.
#include "server/openai/response_format.h"

#include <gtest/gtest.h>

#include "model/grammar/grammar_state.h"
#include "tests/support/test_model.h"

namespace tristill::openai {
namespace {

struct Read {
  std::shared_ptr<const Grammar> grammar;
  std::optional<Error> error;
};

Read read(const std::string& body) {
  const auto object = parse_object(body);
  EXPECT_TRUE(object) << body;
  Fields fields(*object);
  Read read;
  read.grammar = read_output_form(fields, body);
  read.error = fields.error();
  return read;
}

bool takes(const Read& read, const std::string& text) {
  if (read.grammar == nullptr) return false;
  static const auto trie = std::make_shared<TokenTrie>(test::tiny_tokenizer());
  GrammarState state(read.grammar, trie, {});
  return state.accept(text) && state.may_end();
}

TEST(ResponseFormat, AnyTextNeedsNoGrammar) {
  for (const char* body : {"{}", R"({"response_format":null})", R"({"grammar":""})",
                           R"({"response_format":{"type":"text"},"json_schema":null})"}) {
    const auto result = read(body);
    EXPECT_EQ(result.grammar, nullptr);
    EXPECT_FALSE(result.error) << body;
  }
}

TEST(ResponseFormat, JsonObjectIsAnyObject) {
  const auto any = read(R"({"response_format":{"type":"json_object"}})");
  EXPECT_TRUE(takes(any, R"({"a":[1,{"b":null}]})"));
  EXPECT_FALSE(takes(any, "[]"));
  const auto held =
      read(R"({"response_format":{"type":"json_object","schema":{"const":{"z":1,"a":2}}}})");
  EXPECT_TRUE(takes(held, R"({"z":1,"a":2})"));
}

// The order is in the text of the body alone: parsed objects are sorted.
TEST(ResponseFormat, PropertiesKeepTheOrderOfTheBody) {
  const std::string schema =
      R"({"type":"object","properties":{"z":{"const":"}\""},"a":{"const":1}},)"
      R"("required":["a","z"]})";
  for (const std::string& body :
       {R"({"x":"{\"response_format\":1}","response_format":{"type":"json_schema","json_schema":)"
        R"({"name":"n","strict":true,"schema":)" +
            schema + R"(}},"y":[{"response_format":{}}]})",
        R"( { "json_schema" : )" + schema + " } ",
        R"({"response\u005fformat":{"schema":)" + schema + R"(,"type":"json_object"},"n":1})"}) {
    const auto result = read(body);
    EXPECT_FALSE(result.error) << body << result.error->message;
    EXPECT_TRUE(takes(result, R"({"z":"}\"","a":1})")) << body;
    EXPECT_FALSE(takes(result, R"({"a":1,"z":"}\""})")) << body;
  }
}

TEST(ResponseFormat, GrammarsOfTextToo) {
  EXPECT_TRUE(takes(read(R"({"grammar":"root ::= \"a\"+"})"), "aaa"));
}

TEST(ResponseFormat, RefusesByPath) {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {R"({"response_format":"json"})", "response_format"},
      {R"({"response_format":{}})", "response_format"},
      {R"({"response_format":{"type":"xml"}})", "response_format"},
      {R"({"response_format":{"type":"json_schema"}})", "response_format.json_schema"},
      {R"({"response_format":{"type":"json_schema","json_schema":[]}})",
       "response_format.json_schema"},
      {R"({"response_format":{"type":"json_schema","json_schema":{"schema":{}}}})",
       "response_format.json_schema.name"},
      {R"({"response_format":{"type":"json_schema","json_schema":{"name":"a","strict":1}}})",
       "response_format.json_schema.strict"},
      {R"({"response_format":{"type":"json_schema","json_schema":{"name":"a","schema":[]}}})",
       "response_format.json_schema.schema"},
      {R"({"response_format":{"type":"json_schema","json_schema":{"name":"a","schema":)"
       R"({"properties":{"p":{"not":{}}}}}}})",
       "response_format.json_schema.schema.properties.p.not"},
      {R"({"json_schema":{"type":"integer","multipleOf":3}})", "json_schema.multipleOf"},
      {R"({"json_schema":"x"})", "json_schema"},
      {R"({"grammar":5})", "grammar"},
      {R"({"grammar":"root ::="  ,"json_schema":{}})", "grammar"},
      {R"({"grammar":"root := x"})", "grammar"},
      {R"({"json_schema":{},"response_format":{"type":"json_object"}})", "json_schema"},
  };
  for (const auto& [body, path] : cases) {
    const auto result = read(body);
    EXPECT_EQ(result.grammar, nullptr);
    ASSERT_TRUE(result.error) << body;
    EXPECT_EQ(result.error->param, path) << result.error->message;
    EXPECT_EQ(result.error->code, ErrorCode::invalid_argument);
  }
}

TEST(ResponseFormat, SchemasThatAreTooLargeAreRefusedBeforeTheyAreRead) {
  std::string members = R"({"json_schema":{"properties":{"a":{})";
  for (int i = 0; i < 2500; ++i) members += ",\"" + std::to_string(i) + "\":{}";
  const auto wide = read(members + "}}}");
  ASSERT_TRUE(wide.error);
  EXPECT_EQ(wide.error->param, "json_schema");
  std::string list = R"({"json_schema":{"enum":[0)";
  for (int i = 0; i < 25'000; ++i) list += ",1";
  EXPECT_TRUE(read(list + "]}}").error);
}

}  // namespace
}  // namespace tristill::openai
