// The tiny random model of the tests, served by a registry and a router without sockets.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "model/format/model_file.h"
#include "server/models/registry.h"
#include "server/models/routes.h"
#include "server/openai/completions.h"
#include "server/openai/tokens.h"
#include "server/ops/metrics.h"
#include "server/ops/routes.h"
#include "tests/support/job_fixture.h"
#include "tests/support/test_model.h"

namespace tristill::tests {

// Writes NAME.gguf of a seed into folder.
inline std::filesystem::path write_model(const std::filesystem::path& folder,
                                         const std::string& name, uint64_t seed = 1) {
  const auto path = folder / (name + ".gguf");
  const auto done = write_model_file(path, test::random_model({.seed = seed}),
                                     *test::tiny_tokenizer(), {{"job", "j-" + name}});
  EXPECT_TRUE(done) << done.error().message;
  return path;
}

class ServedModelTest : public ::testing::Test {
 protected:
  ServedModelTest() : ServedModelTest(engine::EngineOptions{.n_threads = 1}) {}
  explicit ServedModelTest(const engine::EngineOptions& options)
      : registry_(options), tokenizer_(test::tiny_tokenizer()) {}

  void SetUp() override {
    serve("tiny");
    openai::add_routes(router_, registry_, metrics_);
    openai::add_token_routes(router_, registry_);
    models::add_routes(router_, registry_);
    ops::add_routes(router_, registry_, metrics_, [this] { return draining_; });
  }

  void serve(const std::string& name, uint64_t seed = 1) {
    const auto done = registry_.publish(name, write_model(folder_.path(), name, seed));
    ASSERT_TRUE(done) << done.error().message;
  }

  http::Response call(const std::string& method, const std::string& path, std::string body = "") {
    http::Request request;
    request.method = method;
    request.path = path;
    request.body = std::move(body);
    request.client_gone = client_gone_;
    return router_.route(request);
  }

  Answer ask(const std::string& method, const std::string& path, const std::string& body = "") {
    Answer answer;
    answer.response = call(method, path, body);
    answer.status = answer.response.status;
    answer.body = nlohmann::json::parse(answer.response.body, nullptr, false);
    return answer;
  }

  Answer complete(const nlohmann::json& body) {
    return ask("POST", "/v1/completions", body.dump());
  }

  // The chunks of a streamed completion. The stream must end with [DONE].
  std::vector<nlohmann::json> stream(nlohmann::json body) {
    body["stream"] = true;
    const auto response = call("POST", "/v1/completions", body.dump());
    EXPECT_EQ(response.status, 200) << response.body;
    std::vector<nlohmann::json> chunks;
    if (!response.stream) return chunks;
    EXPECT_EQ(response.content_type, "text/event-stream; charset=utf-8");
    RecordingStream written;
    response.stream(written);
    std::string text = written.text();
    const std::string done = "data: [DONE]\n\n";
    EXPECT_TRUE(text.ends_with(done)) << text;
    text.resize(text.size() - std::min(text.size(), done.size()));
    while (!text.empty()) {
      const size_t end = text.find("\n\n");
      EXPECT_TRUE(text.starts_with("data: ") && end != std::string::npos) << text;
      if (end == std::string::npos) break;
      chunks.push_back(nlohmann::json::parse(text.substr(6, end - 6), nullptr, false));
      EXPECT_FALSE(chunks.back().is_discarded()) << text.substr(0, end);
      text.erase(0, end + 2);
    }
    return chunks;
  }

  TemporaryFolder folder_;
  models::Registry registry_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  ops::Metrics metrics_;
  http::Router router_;
  std::function<bool()> client_gone_ = [] { return false; };
  bool draining_ = false;
};

}  // namespace tristill::tests
