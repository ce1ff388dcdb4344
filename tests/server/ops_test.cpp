#include <thread>

#include "tests/support/served_model.h"

namespace tristill::ops {
namespace {

class Operations : public tests::ServedModelTest {
 protected:
  // The value of a metric with its labels as they are printed; -1 when it is absent.
  double value(const std::string& name) {
    const std::string text = call("GET", "/metrics").body;
    const size_t at = ("\n" + text).find("\n" + name + " ");
    return at == std::string::npos ? -1 : std::stod(text.substr(at + name.size() + 1));
  }
};

TEST_F(Operations, HealthFollowsTheDaemon) {
  for (const char* path : {"/health", "/livez", "/readyz"}) {
    EXPECT_EQ(ask("GET", path).body["status"], "ok") << path;
  }
  draining_ = true;
  EXPECT_EQ(ask("GET", "/livez").status, 200);
  for (const char* path : {"/health", "/readyz"}) {
    const auto answer = ask("GET", path);
    EXPECT_EQ(answer.status, 503) << path;
    EXPECT_EQ(answer.body["error"]["code"], "draining");
    EXPECT_TRUE(answer.response.headers.contains("Retry-After"));
  }
}

TEST_F(Operations, WithoutAModelTheDaemonIsAliveButNotReady) {
  models::Registry empty({});
  http::Router router;
  add_routes(router, empty, metrics_, [] { return false; });
  http::Request request;
  request.method = "GET";
  request.path = "/health";
  EXPECT_EQ(router.route(request).status, 200);
  request.path = "/readyz";
  const auto answer = router.route(request);
  EXPECT_EQ(answer.status, 503);
  EXPECT_NE(answer.body.find("no_model"), std::string::npos);
}

TEST_F(Operations, CompletionsAreCountedExactly) {
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(
        complete({{"prompt", {5, 6}}, {"n", 2}, {"max_tokens", 5}, {"ignore_eos", true}}).status,
        200);
  }
  stream({{"prompt", {5, 6}}, {"max_tokens", 5}, {"ignore_eos", true}});
  const std::string model = "{model_name=\"tiny\"}";
  EXPECT_EQ(value("tristill_time_to_first_token_seconds_count" + model), 7);
  EXPECT_EQ(value("tristill_inter_token_latency_seconds_count" + model), 7 * 4);
  EXPECT_EQ(value("tristill_e2e_request_latency_seconds_count" + model), 4);
  EXPECT_EQ(value("tristill_prompt_tokens_total" + model), 4 * 2);
  EXPECT_EQ(value("tristill_generation_tokens_total" + model), 7 * 5);
  EXPECT_EQ(value("tristill_request_success_total{finished_reason=\"length\",model_name=\"tiny\"}"),
            7);
  EXPECT_EQ(value("tristill_requests_cancelled_total" + model), 0);
}

TEST_F(Operations, RequestsAreCountedByRouteNotByPath) {
  metrics_.request("GET", "/jobs/{id}", 200, 0.1);
  metrics_.request("GET", "/jobs/{id}", 200, 0.1);
  metrics_.request("BREW", "", 404, 0.1);
  EXPECT_EQ(
      value("tristill_http_requests_total{method=\"GET\",route=\"/jobs/{id}\",status=\"200\"}"), 2);
  EXPECT_EQ(value("tristill_http_requests_total{method=\"other\",route=\"other\",status=\"404\"}"),
            1);
}

TEST_F(Operations, MetricsAreThePrometheusTextFormat) {
  metrics_.on_collect(
      [](Metrics& metrics) { metrics.gauge("tristill_test", "A gauge", {{"a", "b"}}, 7); });
  metrics_.model("tiny");
  const auto response = call("GET", "/metrics");
  EXPECT_TRUE(response.content_type.starts_with("text/plain; version=0.0.4"));
  EXPECT_EQ(value("tristill_test{a=\"b\"}"), 7);
  EXPECT_EQ(value("tristill_test{a=\"b\"}"), 7);  // again: the gauge is made once
  EXPECT_NE(response.body.find("# TYPE tristill_time_to_first_token_seconds histogram"),
            std::string::npos);
  EXPECT_NE(response.body.find("# HELP tristill_test A gauge"), std::string::npos);
}

TEST_F(Operations, ScrapesWhileServingAreSafe) {
  std::thread scraper([this] {
    for (int i = 0; i < 50; ++i) metrics_.text();
  });
  for (int i = 0; i < 50; ++i) {
    metrics_.request("GET", "/r" + std::to_string(i), 200, 0);
    metrics_.model("m" + std::to_string(i));
  }
  scraper.join();
  EXPECT_EQ(value("tristill_http_requests_total{method=\"GET\",route=\"/r49\",status=\"200\"}"), 1);
}

TEST_F(Operations, TheDocumentAndTheStartPageAreServed) {
  const auto document = call("GET", "/openapi.yaml");
  EXPECT_TRUE(document.body.starts_with("openapi: 3.1"));
  EXPECT_NE(document.body.find("/v1/completions:"), std::string::npos);
  const auto page = call("GET", "/");
  EXPECT_TRUE(page.content_type.starts_with("text/html"));
  EXPECT_NE(page.body.find("<code>tiny</code>"), std::string::npos);
}

}  // namespace
}  // namespace tristill::ops
