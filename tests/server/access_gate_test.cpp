#include "server/access/gate.h"

#include <gtest/gtest.h>

#include "server/access/routes.h"
#include "tests/support/temporary_folder.h"

namespace tristill::access {
namespace {

class AccessGate : public ::testing::Test {
 protected:
  void SetUp() override {
    auto opened = KeyStore::open({.path = folder_.path() / "keys.json"});
    ASSERT_TRUE(opened);
    keys_ = std::move(*opened);
    gate_ = make_gate(*keys_);
  }
  std::string make(const Scopes& scopes, const Rates& rates = {}) {
    const auto made = keys_->create({.name = "n", .scopes = scopes, .rates = rates});
    EXPECT_TRUE(made);
    return made ? made->secret : "";
  }
  http::Verdict ask(const std::string& method, const std::string& path,
                    const std::map<std::string, std::string>& headers = {}) {
    http::RequestHead head;
    head.method = method;
    head.path = path;
    head.headers = headers;
    return gate_(head);
  }
  http::Verdict ask_with(const std::string& secret, const std::string& method,
                         const std::string& path) {
    return ask(method, path, {{"authorization", "Bearer " + secret}});
  }
  static int status(const http::Verdict& verdict) {
    return verdict.refusal ? verdict.refusal->status : 200;
  }

  tests::TemporaryFolder folder_;
  std::unique_ptr<KeyStore> keys_;
  http::Gate gate_;
};

TEST_F(AccessGate, EverythingPassesWhileNoKeyExists) {
  for (const char* path : {"/keys", "/jobs", "/v1/completions", "/nowhere", "/"}) {
    EXPECT_EQ(status(ask_with("sk-of-an-sdk", "POST", path)), 200) << path;
    EXPECT_EQ(ask("POST", path).key_id, "") << path;
  }
}

TEST_F(AccessGate, AKeyIsTakenInThreeHeaders) {
  const std::string key = make({Scope::admin, Scope::infer});
  for (const auto& [name, value] :
       {std::pair<std::string, std::string>("authorization", "Bearer " + key),
        {"authorization", "bearer " + key},
        {"x-api-key", key},
        {"api-key", key}}) {
    const auto verdict = ask("GET", "/v1/models", {{name, value}});
    EXPECT_EQ(status(verdict), 200) << name;
    EXPECT_EQ(verdict.key_id, keys_->list()[0].id);
  }
  for (const auto& [name, value] : {std::pair<std::string, std::string>("authorization", key),
                                    {"authorization", "Basic " + key},
                                    {"authorization", "Bearer " + key + ", Bearer " + key},
                                    {"authorization", "Bearer  " + key},
                                    {"authorization", "Bearer "},
                                    {"x-api-key", "Bearer " + key},
                                    {"x-api-key", key + "x"},
                                    {"cookie", key}}) {
    const auto verdict = ask("GET", "/v1/models", {{name, value}});
    EXPECT_EQ(status(verdict), 401) << name << value;
    EXPECT_EQ(verdict.refusal->body.find("tsk-"), std::string::npos);
  }
}

TEST_F(AccessGate, PublicRoutesAreFewAndExact) {
  make({Scope::admin});
  for (const char* path : {"/livez", "/readyz", "/health", "/v1/health"}) {
    EXPECT_EQ(status(ask("GET", path)), 200) << path;
    EXPECT_EQ(status(ask("HEAD", path)), 200) << path;
    EXPECT_EQ(status(ask("POST", path)), 401) << path;
    EXPECT_EQ(status(ask("GET", std::string(path) + "/")), 401) << path;
  }
  for (const char* path : {"/", "/openapi.yaml", "/metrics", "/nowhere", "//health"}) {
    EXPECT_EQ(status(ask("GET", path)), 401) << path;
  }
}

TEST_F(AccessGate, EachRouteAsksForItsScope) {
  struct Row {
    const char *method, *path;
    std::optional<Scope> scope;  // none: any key
  };
  const std::vector<Row> rows = {
      {"POST", "/v1/completions", Scope::infer},
      {"POST", "/infill", Scope::infer},
      {"GET", "/v1/models", Scope::infer},
      {"GET", "/v1/models/a/b", Scope::infer},
      {"DELETE", "/v1/models/a", Scope::admin},
      {"POST", "/models/load", Scope::admin},
      {"GET", "/models", Scope::infer},
      {"GET", "/props", Scope::infer},
      {"POST", "/props", Scope::admin},
      {"POST", "/slots/0", Scope::admin},
      {"POST", "/v1/fine_tuning/jobs", Scope::train},
      {"GET", "/v1/files", Scope::train},
      {"GET", "/v1/filesystem", Scope::infer},
      {"GET", "/jobs/x/events", Scope::train},
      {"GET", "/jobs/x/health", Scope::train},
      {"GET", "/jobsx", Scope::admin},
      {"POST", "/traces", Scope::train},
      {"GET", "/keys", Scope::admin},
      {"DELETE", "/keys/x", Scope::admin},
      {"GET", "/debug/requests", Scope::admin},
      {"GET", "/nowhere", Scope::admin},
      {"GET", "/v1/../keys", Scope::infer},
      {"GET", "/metrics", std::nullopt},
      {"GET", "/", std::nullopt},
      {"OPTIONS", "/jobs", Scope::train},
  };
  std::map<Scope, std::string> secrets = {{Scope::admin, make({Scope::admin})}};
  secrets[Scope::infer] = make({Scope::infer});
  secrets[Scope::train] = make({Scope::train});
  for (const Row& row : rows) {
    for (const auto& [scope, secret] : secrets) {
      const auto verdict = ask_with(secret, row.method, row.path);
      const bool may = !row.scope || *row.scope == scope;
      EXPECT_EQ(status(verdict), may ? 200 : 403) << row.path << " " << to_string(scope);
      if (may) continue;
      const std::string& body = verdict.refusal->body;
      EXPECT_NE(body.find("permission_error"), std::string::npos);
      EXPECT_NE(body.find("scope " + std::string(to_string(*row.scope))), std::string::npos)
          << body;
    }
  }
}

TEST_F(AccessGate, LimitsAreToldAndBeyondThemAClientIsToldToWait) {
  make({Scope::admin});
  const std::string key =
      make({Scope::infer}, {.requests_per_minute = 2, .tokens_per_minute = 100});
  const auto first = ask_with(key, "POST", "/v1/completions");
  EXPECT_EQ(status(first), 200);
  EXPECT_EQ(first.headers.at("x-ratelimit-limit-requests"), "2");
  EXPECT_EQ(first.headers.at("x-ratelimit-remaining-requests"), "1");
  EXPECT_EQ(first.headers.at("x-ratelimit-limit-tokens"), "100");
  EXPECT_EQ(first.headers.at("x-ratelimit-reset-tokens"), "0s");
  keys_->limits().spend(first.key_id, 1000);
  const auto owing = ask_with(key, "POST", "/v1/completions");
  EXPECT_EQ(status(owing), 429);
  EXPECT_NE(owing.refusal->body.find("tokens a minute"), std::string::npos);
  EXPECT_EQ(owing.refusal->headers.at("x-should-retry"), "false");  // nine minutes from now
  EXPECT_EQ(status(ask_with(key, "GET", "/v1/models")), 200);
  const auto refused = ask_with(key, "GET", "/v1/models");
  EXPECT_EQ(status(refused), 429);
  EXPECT_NE(refused.refusal->body.find("rate_limit_exceeded"), std::string::npos);
  EXPECT_NE(refused.refusal->body.find("rate_limit_error"), std::string::npos);
  const int seconds = std::stoi(refused.refusal->headers.at("Retry-After"));
  const int ms = std::stoi(refused.refusal->headers.at("retry-after-ms"));
  EXPECT_TRUE(seconds >= 1 && seconds <= 30) << seconds;
  EXPECT_TRUE(ms <= seconds * 1000 && ms > (seconds - 1) * 1000) << ms;
  EXPECT_EQ(refused.refusal->headers.at("x-should-retry"), "true");
  EXPECT_EQ(refused.headers.at("x-ratelimit-remaining-requests"), "0");
}

TEST_F(AccessGate, RoutesManageKeysAndShowASecretOnce) {
  http::Router router;
  add_routes(router, *keys_);
  const auto call = [&](const std::string& method, const std::string& path,
                        const std::string& body = "") {
    http::Request request;
    request.method = method;
    request.path = path;
    request.body = body;
    return router.route(request);
  };
  EXPECT_EQ(call("POST", "/keys", R"({"name": "n", "scopes": ["infer"]})").status, 400);
  EXPECT_EQ(call("POST", "/keys", "{").status, 400);
  const auto made = call("POST", "/keys", R"({"name": "n", "scopes": ["admin"]})");
  EXPECT_EQ(made.status, 200);
  EXPECT_EQ(made.headers.at("Cache-Control"), "no-store");
  const size_t at = made.body.find("tsk-");
  ASSERT_NE(at, std::string::npos);
  EXPECT_TRUE(keys_->find(made.body.substr(at, 68)));
  const auto listed = call("GET", "/keys");
  EXPECT_EQ(listed.body.find("tsk-"), std::string::npos);
  EXPECT_NE(listed.body.find(keys_->list()[0].id), std::string::npos);
  EXPECT_EQ(call("DELETE", "/keys/key_unknown").status, 404);
  EXPECT_EQ(call("DELETE", "/keys/" + keys_->list()[0].id).status, 200);
  EXPECT_TRUE(keys_->is_open());
}

}  // namespace
}  // namespace tristill::access
