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
#include "server/compat/fim.h"
#include "server/compat/llama_cpp.h"
#include "server/models/model_files.h"
#include "server/models/registry.h"
#include "server/models/routes.h"
#include "server/openai/routes.h"
#include "server/ops/debug_routes.h"
#include "server/ops/introspection.h"
#include "server/ops/metrics.h"
#include "server/ops/request_history.h"
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
    openai::add_routes(router_, services_);
    compat::add_fim_routes(router_, services_);
    compat::add_llama_cpp_routes(router_, services_);
    models::add_routes(router_, registry_);
    ops::add_routes(
        router_, registry_, metrics_,
        {.is_draining = [this] { return draining_; }, .is_alive = [this] { return alive_; }});
    models::add_change_routes(router_, registry_, model_files_);
    ops::add_introspection_routes(router_, registry_);
    ops::add_debug_routes(router_, history_);
  }

  void serve(const std::string& name, uint64_t seed = 1) {
    const auto done = registry_.publish(name, write_model(folder_.path(), name, seed));
    ASSERT_TRUE(done) << done.error().message;
  }

  http::Response call(const std::string& method, const std::string& path, std::string body = "") {
    http::Request request;
    request.method = method;
    request.path = path.substr(0, path.find('?'));
    request.query = query_of(path);
    request.body = std::move(body);
    request.request_id = request_id_;
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

  // The chunks of a streamed completion. The stream must end with done.
  std::vector<nlohmann::json> stream(nlohmann::json body,
                                     const std::string& path = "/v1/completions",
                                     const std::string& done = "data: [DONE]\n\n") {
    body["stream"] = true;
    const auto response = call("POST", path, body.dump());
    EXPECT_EQ(response.status, 200) << response.body;
    std::vector<nlohmann::json> chunks;
    if (!response.stream) return chunks;
    EXPECT_EQ(response.content_type, "text/event-stream; charset=utf-8");
    RecordingStream written;
    response.stream(written);
    std::string text = written.text();
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

  // "/slots?model=tiny&x=1" -> {"model", "tiny"}, {"x", "1"}; nothing is escaped.
  static std::map<std::string, std::string> query_of(const std::string& path) {
    std::map<std::string, std::string> query;
    for (size_t at = path.find('?'); at < path.size();) {
      const size_t end = std::min(path.find('&', at + 1), path.size());
      const std::string pair = path.substr(at + 1, end - at - 1);
      const size_t equals = std::min(pair.find('='), pair.size());
      query[pair.substr(0, equals)] = pair.substr(std::min(equals + 1, pair.size()));
      at = end;
    }
    return query;
  }

  TemporaryFolder folder_;
  models::Registry registry_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  ops::Metrics metrics_;
  ops::RequestHistory history_{metrics_};
  openai::Services services_{.registry = registry_, .metrics = metrics_, .history = history_};
  http::Router router_;
  std::string request_id_ = "req-test";
  std::function<bool()> client_gone_ = [] { return false; };
  models::ModelFiles model_files_{registry_, folder_.path(), {}};
  bool draining_ = false;
  bool alive_ = true;
};

}  // namespace tristill::tests
