// POST /tokenize and /detokenize: both dialects, and every refusal by name.
#include "tests/support/served_model.h"

namespace tristill::openai {
namespace {

using nlohmann::json;

class Tokens : public tests::ServedModelTest {
 protected:
  tests::Answer tokenize(const json& body) { return ask("POST", "/tokenize", body.dump()); }
  tests::Answer detokenize(const json& body) { return ask("POST", "/detokenize", body.dump()); }
};

TEST_F(Tokens, TextGoesThereAndBack) {
  for (const std::string text : {"def main():\n", "", "naïve \U0001F600", "\tx"}) {
    const auto there = tokenize({{"content", text}});
    ASSERT_EQ(there.status, 200) << there.response.body;
    EXPECT_EQ(there.body.at("tokens"), json(tokenizer_->encode(text)));
    EXPECT_EQ(there.body.at("count"), there.body.at("tokens").size());
    const auto back = detokenize({{"tokens", there.body.at("tokens")}});
    ASSERT_EQ(back.status, 200) << back.response.body;
    EXPECT_EQ(back.body.at("content"), text);
    EXPECT_EQ(back.body.at("prompt"), text);
  }
}

TEST_F(Tokens, PiecesAreTextOrBytes) {
  const auto answer = tokenize(
      {{"prompt", "aß"}, {"with_pieces", true}, {"return_token_strs", true}, {"model", "tiny"}});
  ASSERT_EQ(answer.status, 200) << answer.response.body;
  std::string bytes;
  for (const auto& token : answer.body.at("tokens")) {
    const json& piece = token.at("piece");
    if (piece.is_string()) bytes += piece.get<std::string>();
    else
      for (const auto& byte : piece) bytes += static_cast<char>(byte.get<int>());
  }
  EXPECT_EQ(bytes, "aß");
  EXPECT_TRUE(answer.body.at("tokens").back().at("piece").is_array());  // half a character
  EXPECT_EQ(answer.body.at("token_strs").size(), answer.body.at("tokens").size());
}

TEST_F(Tokens, RefusalsNameTheField) {
  const auto expect_refused = [](const tests::Answer& answer, int status, const char* param) {
    EXPECT_EQ(answer.status, status) << answer.response.body;
    EXPECT_EQ(answer.body.at("error").at("param"), param) << answer.response.body;
  };
  expect_refused(tokenize(json::object()), 400, "content");
  expect_refused(tokenize({{"content", "a"}, {"prompt", "b"}}), 400, "content");
  expect_refused(tokenize({{"content", 3}}), 400, "content");
  expect_refused(tokenize({{"prompt", json::array()}}), 400, "prompt");
  expect_refused(tokenize({{"content", "a"}, {"with_pieces", "yes"}}), 400, "with_pieces");
  expect_refused(detokenize(json::object()), 400, "tokens");
  expect_refused(detokenize({{"tokens", "a"}}), 400, "tokens");
  expect_refused(detokenize({{"tokens", {1, -1}}}), 400, "tokens[1]");
  expect_refused(detokenize({{"tokens", {1, 2, 1 << 30}}}), 400, "tokens[2]");
  expect_refused(detokenize({{"tokens", {1.5}}}), 400, "tokens[0]");
  serve("other", 2);
  expect_refused(tokenize({{"content", "a"}, {"model", "none"}}), 404, "model");
  expect_refused(detokenize({{"tokens", {1}}, {"model", "none"}}), 404, "model");
  EXPECT_EQ(ask("POST", "/tokenize", "{").body.at("error").at("code"), "invalid_json");
  EXPECT_EQ(ask("POST", "/tokenize", std::string(size_t{9} << 20, ' ')).status, 413);
}

}  // namespace
}  // namespace tristill::openai
