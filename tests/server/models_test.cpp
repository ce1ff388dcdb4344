#include <fstream>

#include "tests/support/served_model.h"

namespace tristill::models {
namespace {

using Models = tests::ServedModelTest;

TEST_F(Models, AreListedWithWhatClientsRead) {
  const auto answer = ask("GET", "/v1/models");
  EXPECT_EQ(answer.body["object"], "list");
  ASSERT_EQ(answer.body["data"].size(), 1U);
  const auto& model = answer.body["data"][0];
  EXPECT_EQ(model["id"], "tiny");
  EXPECT_EQ(model["object"], "model");
  EXPECT_EQ(model["owned_by"], "tristill");
  EXPECT_GT(model["created"], 1700000000);
  EXPECT_EQ(model["max_model_len"], 256);
  EXPECT_GT(model["meta"]["n_params"], 100000);
  EXPECT_GT(model["meta"]["weight_bytes"], 10000);
  EXPECT_EQ(model["meta"]["tokenizer"], tokenizer_->fingerprint());
  EXPECT_EQ(model["meta"]["provenance"]["job"], "j-tiny");
}

TEST_F(Models, AreFoundByNameOnly) {
  EXPECT_EQ(ask("GET", "/v1/models/tiny").body["id"], "tiny");
  const auto answer = ask("GET", "/v1/models/some/other");
  EXPECT_EQ(answer.status, 404);
  EXPECT_EQ(answer.body["error"]["code"], "model_not_found");
}

TEST_F(Models, APublishedModelReplacesItsNamesakeForNewRequestsOnly) {
  const auto before = registry_.exact("tiny");
  const std::string body =
      R"({"prompt":"x","max_tokens":200,"ignore_eos":true,"stream":true,"seed":1})";
  const auto running = call("POST", "/v1/completions", body);
  serve("tiny", 2);
  const auto after = registry_.exact("tiny");
  EXPECT_NE(before->model->fingerprint, after->model->fingerprint);
  EXPECT_EQ(registry_.list().size(), 1U);
  tests::RecordingStream writer;
  running.stream(writer);
  EXPECT_NE(writer.text().find(before->model->fingerprint), std::string::npos);
  EXPECT_EQ(writer.text().find(after->model->fingerprint), std::string::npos);
  EXPECT_NE(writer.text().find("[DONE]"), std::string::npos);
}

TEST_F(Models, ADamagedFileLeavesTheServedModelAlone) {
  const auto before = registry_.exact("tiny");
  const auto path = folder_.path() / "broken.gguf";
  std::ofstream(path) << "GGUF and then nothing";
  const auto done = registry_.publish("tiny", path);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, ErrorCode::corrupt);
  EXPECT_EQ(registry_.exact("tiny"), before);
  EXPECT_EQ(registry_.publish("new", folder_.path() / "none.gguf").error().code,
            ErrorCode::not_found);
}

TEST_F(Models, NoneAtAllIsNotFound) {
  Registry empty({});
  const auto found = empty.find("x");
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, ErrorCode::not_found);
}

}  // namespace
}  // namespace tristill::models
