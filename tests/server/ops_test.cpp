#include <ctime>
#include <thread>

#include "server/ops/model_metrics.h"
#include "server/ops/process_metrics.h"
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
  add_routes(router, empty, metrics_,
             {.is_draining = [] { return false; }, .is_alive = [] { return true; }});
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
  EXPECT_EQ(value("tristill_requests_cancelled_total{model_name=\"tiny\",phase=\"decode\"}"), 0);
  EXPECT_EQ(value("vllm:time_to_first_token_seconds_count" + model), 7);
  EXPECT_EQ(value("vllm:inter_token_latency_seconds_count" + model), 7 * 4);
  EXPECT_EQ(value("vllm:e2e_request_latency_seconds_count" + model), 4);
  EXPECT_EQ(value("vllm:generation_tokens_total" + model), 7 * 5);
  EXPECT_EQ(value("vllm:request_generation_tokens_count" + model), 7);
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
      [](Scrape& scrape) { scrape.gauge("tristill_test", "A gauge", {{"a", "b"}}, 7); });
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

TEST_F(Operations, AStalledEngineIsNotAlive) {
  alive_ = false;
  const auto answer = ask("GET", "/livez");
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(answer.body["error"]["code"], "stalled");
  EXPECT_EQ(ask("GET", "/health").status, 200);
}

TEST_F(Operations, WeightsAndEnginesAreMeasured) {
  metrics_.on_collect([this](Scrape& scrape) { collect_models(scrape, metrics_, registry_); });
  complete({{"prompt", {5, 6}}, {"max_tokens", 2}});
  const std::string model = "{model_name=\"tiny\"}";
  // The step's figures come after its events.
  EXPECT_TRUE(tests::until([&] { return value("vllm:num_requests_running" + model) == 0; }));
  EXPECT_GT(value("tristill_engine_steps_total" + model), 0);
  EXPECT_EQ(value("vllm:num_requests_waiting" + model), 0);
  EXPECT_EQ(value("vllm:num_preemptions_total" + model), 0);
  EXPECT_GE(value("vllm:kv_cache_usage_perc" + model), 0);
  double shares = 0;
  for (const char* weight : {"-1", "0", "+1"}) {
    shares += value(std::string("tristill_model_ternary_share{model_name=\"tiny\",value=\"") +
                    weight + "\"}");
  }
  EXPECT_NEAR(shares, 1, 1e-9);
  EXPECT_GT(value("tristill_model_bits_per_weight" + model), 1.5);
  EXPECT_LT(value("tristill_model_bits_per_weight" + model), 3);
  EXPECT_GT(value("tristill_model_mean_scale" + model), 0);
  const double steps = value("tristill_engine_steps_total" + model);
  ASSERT_TRUE(registry_.remove("tiny"));
  EXPECT_EQ(value("tristill_engine_steps_total" + model), steps);  // counters stay
  EXPECT_EQ(value("vllm:num_requests_running" + model), -1);       // gauges go
  EXPECT_EQ(value("tristill_model_weight_bytes" + model), -1);
}

TEST_F(Operations, TheProcessIsMeasured) {
  metrics_.on_collect(collect_process);
  EXPECT_GT(value("process_resident_memory_bytes"), 1 << 20);
  EXPECT_GT(value("process_virtual_memory_bytes"), value("process_resident_memory_bytes"));
  EXPECT_GE(value("process_cpu_seconds_total"), 0);
  EXPECT_GE(value("process_open_fds"), 3);
  EXPECT_GE(value("process_max_fds"), value("process_open_fds"));
  const auto now = static_cast<double>(std::time(nullptr));
  EXPECT_NEAR(value("process_start_time_seconds"), now, 3600);
  EXPECT_NE(call("GET", "/metrics").body.find("# TYPE process_cpu_seconds_total counter"),
            std::string::npos);
}

TEST_F(Operations, ACompletionIsRememberedByItsId) {
  request_id_ = "first";
  ASSERT_EQ(
      complete({{"prompt", {5, 6}}, {"n", 2}, {"max_tokens", 3}, {"ignore_eos", true}}).status,
      200);
  request_id_ = "second";
  stream({{"prompt", "secret text"}, {"max_tokens", 3}, {"ignore_eos", true}});
  const auto first = ask("GET", "/debug/requests/first");
  EXPECT_EQ(first.body["state"], "finished");
  EXPECT_EQ(first.body["endpoint"], "/v1/completions");
  EXPECT_EQ(first.body["model"], "tiny");
  EXPECT_EQ(first.body["status"], 200);
  EXPECT_EQ(first.body["prompt_tokens"], 2);
  EXPECT_EQ(first.body["generated_tokens"], 6);
  EXPECT_EQ(first.body["finished_reasons"], nlohmann::json({{"length", 2}}));
  EXPECT_EQ(first.body["choices"].size(), 2U);
  EXPECT_EQ(first.body["cancelled"], nullptr);
  EXPECT_GT(first.body["timings"]["total_ms"], 0);
  const auto list = ask("GET", "/debug/requests?limit=1");
  ASSERT_EQ(list.body["data"].size(), 1U);
  EXPECT_EQ(list.body["data"][0]["id"], "second");
  EXPECT_TRUE(list.body["data"][0]["stream"]);
  EXPECT_EQ(list.response.body.find("secret"), std::string::npos);
}

TEST_F(Operations, ACompletionWhoseClientLeftIsRememberedSo) {
  client_gone_ = [] { return true; };
  complete({{"prompt", "x"}, {"max_tokens", 200}, {"ignore_eos", true}});
  const auto answer = ask("GET", "/debug/requests/req-test");
  EXPECT_EQ(answer.body["status"], 499);
  EXPECT_TRUE(answer.body["cancelled"].is_string());  // the phase to which it had come
  EXPECT_EQ(answer.body["finished_reasons"], nlohmann::json({{"abort", 1}}));
}

TEST_F(Operations, UnknownRequestsAndWrongLimitsAreNamed) {
  EXPECT_EQ(ask("GET", "/debug/requests/none").status, 404);
  for (const char* limit : {"-1", "x", "1001", ""}) {
    const auto answer = ask("GET", std::string("/debug/requests?limit=") + limit);
    EXPECT_EQ(answer.status, 400) << limit;
    EXPECT_EQ(answer.body["error"]["param"], "limit");
  }
  EXPECT_EQ(ask("GET", "/debug/requests?limit=0").body["data"], nlohmann::json::array());
}

TEST_F(Operations, AnswersTellTheirTimings) {
  const auto answer = complete({{"prompt", "x"}, {"max_tokens", 1}});
  EXPECT_TRUE(answer.response.headers.at("Server-Timing").starts_with("queue;dur="));
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
