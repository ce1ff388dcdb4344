#include "server/ops/routes.h"

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

}  // namespace

void add_routes(http::Router& router, const models::Registry& registry, Metrics& metrics,
                std::function<bool()> is_draining) {
  const auto alive = [](const http::Request&) { return ok(); };
  const auto ready = [&registry, is_draining](const http::Request&) {
    if (is_draining())
      return http::error_response(503, "", "draining: the daemon is stopping", "", "draining");
    if (registry.list().empty()) {
      return http::error_response(
          503, "", "no model is served; start with --model FILE or finish a job", "", "no_model");
    }
    return ok();
  };
  router.add("GET", "/livez", alive);
  router.add("GET", "/readyz", ready);
  router.add("GET", "/health", alive);
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
