#include "server/app.h"

#include <fstream>
#include <thread>

#include "tests/support/raw_client.h"
#include "tests/support/served_model.h"

namespace tristill::server {
namespace {

using tests::RawClient;
using tests::until;

class Daemon : public ::testing::Test {
 protected:
  void SetUp() override {
    settings_.port = 0;
    settings_.threads = 1;
    settings_.data = folder_.path() / "data";
    settings_.worker = TRISTILL_FAKE_WORKER;
    model_ = tests::write_model(folder_.path(), "tiny").string();
    settings_.models = {model_};
  }
  ~Daemon() override { stop(); }

  void start() {
    auto started = App::start(settings_);
    ASSERT_TRUE(started) << started.error().message;
    app_ = std::move(*started);
    running_ = std::thread([this] { app_->run(); });
  }
  void stop() {
    if (!running_.joinable()) return;
    app_->stop();
    running_.join();
    app_.reset();
  }

  static std::string request(const std::string& method, const std::string& path,
                             const std::string& body = "") {
    return method + " " + path +
           " HTTP/1.1\r\nHost: h\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
           body;
  }
  tests::RawAnswer ask(const std::string& method, const std::string& path,
                       const std::string& body = "") {
    return RawClient(app_->port()).ask(request(method, path, body));
  }
  Error refused() {
    const auto started = App::start(settings_);
    EXPECT_FALSE(started);
    return started ? Error{} : started.error();
  }
  std::string served() { return ask("GET", "/v1/models").body; }

  tests::TemporaryFolder folder_;
  Settings settings_;
  std::string model_;
  std::unique_ptr<App> app_;
  std::thread running_;
};

TEST_F(Daemon, ServesEveryPartOnOnePort) {
  start();
  EXPECT_EQ(ask("POST", "/v1/completions", R"({"prompt":"x","max_tokens":1})").status, 200);
  for (const char* path : {"/v1/models", "/jobs", "/traces", "/health", "/livez", "/readyz",
                           "/metrics", "/openapi.yaml", "/"}) {
    EXPECT_EQ(ask("GET", path).status, 200) << path;
  }
  const std::string metrics = ask("GET", "/metrics").body;
  for (const char* name :
       {"tristill_num_requests_running{model_name=\"tiny\"} 0", "tristill_jobs{state=\"queued\"} 0",
        "tristill_kv_cache_usage_ratio",
        "tristill_http_requests_total{method=\"GET\",route=\"/v1/models\",status=\"200\"} 1"}) {
    EXPECT_NE(metrics.find(name), std::string::npos) << name;
  }
}

TEST_F(Daemon, ServesTheModelsOfItsDataAndSkipsDamagedOnes) {
  std::filesystem::create_directories(settings_.data / "models");
  tests::write_model(settings_.data / "models", "trained", 2);
  std::ofstream(settings_.data / "models" / "damaged.gguf") << "GGUF";
  settings_.models.clear();
  start();
  EXPECT_NE(served().find("\"trained\""), std::string::npos);
  EXPECT_EQ(served().find("\"damaged\""), std::string::npos);
}

TEST_F(Daemon, IsReadyOnlyWithAModel) {
  settings_.models.clear();
  start();
  EXPECT_EQ(ask("GET", "/readyz").status, 503);
  EXPECT_EQ(ask("GET", "/health").status, 200);
  EXPECT_EQ(ask("POST", "/v1/completions", R"({"prompt":"x"})").status, 404);
}

TEST_F(Daemon, RefusesAModelThatIsDamagedMissingOrBadlyNamed) {
  const auto path = folder_.path() / "damaged.gguf";
  std::ofstream(path) << "GGUF";
  settings_.models = {model_, path.string()};
  EXPECT_EQ(refused().code, ErrorCode::corrupt);
  EXPECT_NE(refused().message.find("damaged.gguf"), std::string::npos);
  settings_.models = {"/nowhere/m.gguf"};
  EXPECT_EQ(refused().code, ErrorCode::not_found);
  const auto odd = folder_.path() / "<b>.gguf";
  std::filesystem::copy(model_, odd);
  settings_.models = {odd.string()};
  EXPECT_EQ(refused().code, ErrorCode::invalid_argument);
}

TEST_F(Daemon, OwnsItsDataFolderAlone) {
  start();
  const Error error = refused();
  EXPECT_EQ(error.code, ErrorCode::unavailable);
  EXPECT_NE(error.message.find("another tristilld"), std::string::npos) << error.message;
  EXPECT_EQ(ask("GET", "/health").status, 200);
}

TEST_F(Daemon, NamesABusyPort) {
  start();
  settings_.port = app_->port();
  settings_.data = folder_.path() / "other";
  const Error error = refused();
  EXPECT_EQ(error.code, ErrorCode::unavailable);
  EXPECT_NE(error.message.find(std::to_string(app_->port())), std::string::npos);
}

TEST_F(Daemon, ADataFolderThatCannotBeIsNamed) {
  settings_.data = model_;  // a file
  EXPECT_EQ(refused().param, "data");
}

TEST_F(Daemon, AKeyIsAskedForWhenOneIsSet) {
  settings_.api_key = "k";
  start();
  EXPECT_EQ(ask("GET", "/v1/models").status, 401);
  EXPECT_EQ(ask("GET", "/metrics").status, 401);
  EXPECT_EQ(ask("GET", "/health").status, 200);
  const auto answer =
      RawClient(app_->port())
          .ask("GET /v1/models HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer k\r\n\r\n");
  EXPECT_EQ(answer.status, 200);
}

// Whether stopping finds it running, finished or not yet begun: it is answered whole.
TEST_F(Daemon, StoppingWithoutPatienceAnswersWhatRuns) {
  settings_.drain_seconds = 0;
  start();
  RawClient client(app_->port());
  client.send(request("POST", "/v1/completions",
                      R"({"prompt":"x","max_tokens":250,"ignore_eos":true,"n":16,"seed":1})"));
  ASSERT_TRUE(until([&] {
    const std::string text = ask("GET", "/metrics").body;
    return text.find("num_requests_running{model_name=\"tiny\"} 16") != std::string::npos ||
           text.find("generation_tokens_total{model_name=\"tiny\"} 4000") != std::string::npos;
  }));
  std::thread stopping([this] { app_->stop(); });
  const auto answer = client.read_answer();
  EXPECT_EQ(answer.status, 200);
  const auto body = nlohmann::json::parse(answer.body, nullptr, false);
  ASSERT_TRUE(body.contains("choices")) << answer.status << " " << answer.body;
  EXPECT_EQ(body["choices"].size(), 16U);
  for (const auto& choice : body["choices"]) EXPECT_EQ(choice["finish_reason"], "length");
  stopping.join();
  running_.join();
}

TEST_F(Daemon, ModelsOutliveARestartAndItsPortIsFreeAtOnce) {
  start();
  settings_.port = app_->port();
  stop();
  start();
  EXPECT_NE(served().find("\"tiny\""), std::string::npos);
}

}  // namespace
}  // namespace tristill::server
