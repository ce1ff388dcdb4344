#include "server/ops/routes.h"

#include <algorithm>

#include "server/http/error.h"
#include "server/ops/openapi_document.h"

namespace tristill::ops {
namespace {

http::Response text(std::string body, std::string content_type) {
  http::Response response;
  response.content_type = std::move(content_type);
  response.body = std::move(body);
  return response;
}

http::Response ok() { return text("{\"status\":\"ok\"}\n", "application/json"); }

std::string start_page(const models::Registry& registry) {
  std::string rows;
  for (const auto& served : registry.list()) {
    rows += "<li><code>" + served->name + "</code></li>";  // names are checked: no markup in them
  }
  return "<!doctype html><meta charset=\"utf-8\"><title>tristill</title>"
         "<style>body{font:16px/1.5 system-ui;max-width:44rem;margin:3rem auto;padding:0 1rem}"
         "pre{background:#f4f4f4;padding:1rem;overflow:auto}</style>"
         "<h1>tristill</h1><p>Ternary code completion. Models served:</p><ul>" +
         rows +
         "</ul><pre>curl http://HOST:PORT/v1/completions -H 'Content-Type: application/json' \\\n"
         "  -d '{\"prompt\": \"def fibonacci(n):\\n\", \"max_tokens\": 48, \"temperature\": "
         "0}'</pre>"
         "<p><a href=\"/openapi.yaml\">API</a> · <a href=\"/v1/models\">models</a> · "
         "<a href=\"/jobs\">jobs</a> · <a href=\"/metrics\">metrics</a></p>\n";
}

// A place where one more completion would run or wait.
bool has_room(const models::Registry& registry) {
  const auto all = registry.list();
  return std::any_of(all.begin(), all.end(), [](const auto& served) {
    const auto& options = served->options;
    const engine::EngineStats stats = served->engine->stats();
    return stats.running + stats.waiting < uint64_t{options.max_sequences} + options.max_queue;
  });
}

http::Response not_ready(std::string_view code, std::string_view message) {
  return http::error_response(503, "", message, "", code);
}

}  // namespace

void add_routes(http::Router& router, const models::Registry& registry, Metrics& metrics,
                Probes probes) {
  const auto alive = [is_alive = probes.is_alive](const http::Request&) {
    return is_alive() ? ok()
                      : not_ready("stalled", "an engine has work and makes no step; restart it");
  };
  const auto healthy = [is_draining = probes.is_draining](const http::Request&) {
    return is_draining() ? not_ready("draining", "the daemon is stopping") : ok();
  };
  const auto ready = [&registry, is_draining = probes.is_draining](const http::Request&) {
    if (is_draining()) return not_ready("draining", "the daemon is stopping");
    if (registry.list().empty()) {
      return not_ready("no_model", "no model is served; start with --model FILE or finish a job");
    }
    return has_room(registry) ? ok() : not_ready("queue_full", "every queue is full");
  };
  router.add("GET", "/livez", alive);
  router.add("GET", "/readyz", ready);
  router.add("GET", "/health", healthy);
  router.add("GET", "/v1/health", healthy);
  router.add("GET", "/metrics", [&metrics](const http::Request&) {
    return text(metrics.text(), "text/plain; version=0.0.4; charset=utf-8");
  });
  router.add("GET", "/openapi.yaml", [](const http::Request&) {
    return text(std::string(kOpenapiDocument), "application/yaml; charset=utf-8");
  });
  router.add("GET", "/", [&registry](const http::Request&) {
    return text(start_page(registry), "text/html; charset=utf-8");
  });
}

}  // namespace tristill::ops
