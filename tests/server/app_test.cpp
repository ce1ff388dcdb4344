#include "server/app.h"

#include <fstream>
#include <map>
#include <set>
#include <thread>

#include "base/atomic_file.h"
#include "base/file_lock.h"
#include "server/access/scope.h"
#include "server/jobs/store.h"
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
    settings_.allowed_hosts = {"h"};
    settings_.threads = 1;
    settings_.data = folder_.path() / "data";
    settings_.worker = TRISTILL_FAKE_WORKER;
    model_ = tests::write_model(folder_.path(), "tiny").string();
    settings_.models = {model_};
  }
  ~Daemon() override { stop(); }

  void start() {
    auto started = App::start(settings_, worker_patience_);
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
                             const std::string& body = "", const std::string& headers = "") {
    return method + " " + path +
           " HTTP/1.1\r\nHost: h\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" +
           headers + "\r\n" + body;
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
  std::filesystem::path trained(const std::string& name) {
    return settings_.data / "models" / (name + ".gguf");
  }

  tests::TemporaryFolder folder_;
  Settings settings_;
  std::chrono::milliseconds worker_patience_ = kWorkerPatience;
  std::string model_;
  std::unique_ptr<App> app_;
  std::thread running_;
};

TEST_F(Daemon, ServesEveryPartOnOnePort) {
  start();
  EXPECT_EQ(ask("POST", "/v1/completions", R"({"prompt":"x","max_tokens":1})").status, 200);
  for (const char* path : {"/v1/models", "/jobs", "/traces", "/health", "/livez", "/readyz",
                           "/metrics", "/openapi.yaml", "/", "/v1/health", "/props", "/slots",
                           "/version", "/tokenizer_info", "/debug/requests"}) {
    EXPECT_EQ(ask("GET", path).status, 200) << path;
  }
  const std::string metrics = ask("GET", "/metrics").body;
  for (const char* name :
       {"tristill_num_requests_running{model_name=\"tiny\"} 0", "tristill_jobs{state=\"queued\"} 0",
        "tristill_kv_cache_usage_ratio", "vllm:num_requests_running{model_name=\"tiny\"} 0",
        "vllm:generation_tokens_total{model_name=\"tiny\"} 1", "process_open_fds ",
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

// Of a route's pattern, a path that it takes.
std::string concrete(const std::string& pattern) {
  std::string path;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '{') {
      path += pattern[i];
      continue;
    }
    path += "no-such";
    i = pattern.find('}', i);
  }
  return path;
}

TEST_F(Daemon, EveryRouteAsksForAKeyWithItsScope) {
  start();
  EXPECT_EQ(ask("POST", "/keys", R"({"name":"n","scopes":["infer"]})").status, 400);
  std::map<access::Scope, std::string> secrets;
  for (const access::Scope scope :
       {access::Scope::admin, access::Scope::infer, access::Scope::train}) {
    const std::string body =
        R"({"name":"n","scopes":[")" + std::string(access::to_string(scope)) + R"("]})";
    const std::string first = secrets[access::Scope::admin];
    const auto made =
        RawClient(app_->port()).ask(request("POST", "/keys", body, "X-Api-Key: " + first + "\r\n"));
    ASSERT_EQ(made.status, 200) << made.body;
    secrets[scope] = nlohmann::json::parse(made.body)["key"];
  }
  const std::set<std::string> open = {"/livez", "/readyz", "/health", "/v1/health"};
  size_t guarded = 0;
  for (const auto& [method, pattern] : app_->routes()) {
    const std::string path = concrete(pattern), what = method + " " + pattern;
    const access::Need need = access::need_of(method, pattern);
    EXPECT_TRUE(need.is_listed) << what << " has no rule in server/access/scope.cpp";
    if (open.contains(pattern)) {
      EXPECT_EQ(ask(method, path).status, 200) << what;
      continue;
    }
    ++guarded;
    EXPECT_EQ(ask(method, path).status, 401) << what;
    if (need.kind == access::Need::Kind::any_key) continue;
    EXPECT_EQ(need.kind, access::Need::Kind::scope) << what;
    for (const auto& [scope, secret] : secrets) {
      if (scope == need.scope) continue;
      const auto refused =
          RawClient(app_->port()).ask(request(method, path, "", "api-key: " + secret + "\r\n"));
      EXPECT_EQ(refused.status, 403) << what;
      const auto error = nlohmann::json::parse(refused.body)["error"];
      EXPECT_EQ(error["type"], "permission_error") << what;
      const std::string message = error["message"];
      EXPECT_NE(message.find(access::to_string(need.scope)), std::string::npos) << message;
    }
  }
  EXPECT_GT(guarded, 15U);
}

TEST_F(Daemon, KeysOutliveARestartAndReloadTakesThoseOfOthers) {
  start();
  const auto made = ask("POST", "/keys", R"({"name":"n","scopes":["admin","infer"]})");
  ASSERT_EQ(made.status, 200) << made.body;
  const std::string key = nlohmann::json::parse(made.body)["key"];
  const auto models = [&] {
    return RawClient(app_->port())
        .ask(request("GET", "/v1/models", "", "Authorization: Bearer " + key + "\r\n"))
        .status;
  };
  EXPECT_EQ(models(), 200);
  stop();
  start();
  EXPECT_EQ(ask("GET", "/v1/models").status, 401);
  EXPECT_EQ(models(), 200);
  std::filesystem::remove(settings_.data / "keys.json");
  EXPECT_EQ(models(), 200);
  app_->reload(settings_);
  EXPECT_EQ(ask("GET", "/v1/models").status, 200);
}

TEST_F(Daemon, OthersThanThisMachineAreNotServedWithoutAKeyUnlessOneSaysSo) {
  settings_.host = "0.0.0.0";
  const Error error = refused();
  EXPECT_EQ(error.param, "host");
  EXPECT_NE(error.message.find("--allow-open-network"), std::string::npos) << error.message;
  settings_.allow_open_network = "yes";
  start();
  EXPECT_EQ(ask("GET", "/v1/models").status, 200);
  stop();
  settings_.allow_open_network = "no";
  settings_.api_key = "k";
  start();
  EXPECT_EQ(ask("GET", "/v1/models").status, 401);
}

TEST_F(Daemon, DamagedKeysAreNoOpenDoor) {
  std::filesystem::create_directories(settings_.data);
  std::ofstream(settings_.data / "keys.json") << "{\"version\": 1, \"keys\": [";
  EXPECT_EQ(refused().code, ErrorCode::corrupt);
}

TEST_F(Daemon, NamesThatPointHereFromElsewhereAreNotAnswered) {
  settings_.allowed_hosts = {"tristill.lan"};
  start();
  RawClient client(app_->port());
  const auto get = [](const std::string& host) {
    return "GET /v1/models HTTP/1.1\r\nHost: " + host + "\r\n\r\n";
  };
  EXPECT_EQ(client.ask(get("tristill.lan:8080")).status, 200);
  EXPECT_EQ(client.ask(get("localhost:1")).status, 200);
  EXPECT_EQ(client.ask(get("evil.example")).status, 421);
}

TEST_F(Daemon, AUnixSocketIsServed) {
  const std::string path = (folder_.path() / "s").string();
  settings_.host = "unix:" + path;
  settings_.socket_mode = "0660";
  start();
  EXPECT_EQ(app_->url(), "unix:" + path);
  EXPECT_EQ(RawClient(path).ask(request("GET", "/v1/models")).status, 200);
  EXPECT_EQ(static_cast<unsigned>(std::filesystem::status(path).permissions()), 0660U);
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

TEST_F(Daemon, AsAServiceItHasMorePatienceWithItsWorker) {
  start();
  const auto alone = app_->stop_patience();
  stop();
  worker_patience_ = kServicePatience;
  start();
  EXPECT_EQ(app_->stop_patience() - alone, kServicePatience - kWorkerPatience);
}

// Without patience the worker is asked and left: its job is running when the daemon has stopped.
TEST_F(Daemon, WaitsForItsWorkerAsLongAsItWasTold) {
  std::filesystem::create_directories(settings_.data / "corpora" / "code");
  ASSERT_TRUE(write_file_atomically(settings_.data / "fake_worker.script", "await=never"));
  worker_patience_ = std::chrono::milliseconds(0);
  start();
  const std::string wish =
      R"({"kind":"tokenizer","name":"py","data":{"corpora":[{"name":"code"}]}})";
  ASSERT_EQ(ask("POST", "/jobs", wish).status, 200);
  std::filesystem::path job;
  ASSERT_TRUE(until([&] {
    for (const auto& entry : std::filesystem::directory_iterator(settings_.data / "jobs")) {
      job = entry.path();
    }
    return std::filesystem::exists(job / "attempts");
  }));
  stop();
  auto store = jobs::Store::open(settings_.data / "tristill.db");
  ASSERT_TRUE(store) << store.error().message;
  EXPECT_EQ((*store)->counts().at("running"), 1U);
  EXPECT_TRUE(until([&] { return !FileLock::is_held(job / "worker.lock"); }));
}

TEST_F(Daemon, AReloadServesWhatTheFilesAreNow) {
  std::filesystem::create_directories(settings_.data / "models");
  tests::write_model(settings_.data / "models", "old", 2);
  start();
  std::filesystem::remove(trained("old"));
  tests::write_model(settings_.data / "models", "new", 3);
  app_->reload(settings_);
  EXPECT_EQ(served().find("\"old\""), std::string::npos);
  EXPECT_NE(served().find("\"new\""), std::string::npos);
  EXPECT_NE(served().find("\"tiny\""), std::string::npos);
}

TEST_F(Daemon, AReloadTakesOverModelsAliasesAndThePolicyOfNames) {
  start();
  EXPECT_EQ(ask("POST", "/v1/completions", R"({"model":"x","prompt":"x"})").status, 200);
  Settings fresh = settings_;
  fresh.unknown_model = "404";
  fresh.model_aliases = {"known=second"};
  fresh.models = {tests::write_model(folder_.path(), "second", 4).string()};
  app_->reload(fresh);
  EXPECT_EQ(ask("POST", "/v1/completions", R"({"model":"x","prompt":"x"})").status, 404);
  EXPECT_EQ(ask("POST", "/v1/completions", R"({"model":"known","prompt":"x"})").status, 200);
  EXPECT_EQ(served().find("\"tiny\""), std::string::npos);
}

TEST_F(Daemon, AReloadOfADamagedModelKeepsWhatIsServed) {
  start();
  Settings fresh = settings_;
  const auto path = folder_.path() / "damaged.gguf";
  std::ofstream(path) << "GGUF";
  fresh.models.push_back(path.string());
  app_->reload(fresh);
  EXPECT_NE(served().find("\"tiny\""), std::string::npos);
  EXPECT_EQ(served().find("\"damaged\""), std::string::npos);
}

TEST_F(Daemon, AMovingDaemonIsAlive) {
  start();
  EXPECT_TRUE(app_->is_alive());
  EXPECT_EQ(ask("GET", "/livez").status, 200);
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
