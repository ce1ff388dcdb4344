#include "server/ops/access_log.h"

#include <vector>

#include "base/log.h"

namespace tristill::ops {
namespace {

bool is_watcher(const std::string& path) {
  return path == "/health" || path == "/v1/health" || path == "/livez" || path == "/readyz" ||
         path == "/metrics";
}

void add_completion(std::vector<LogField>& fields, const KeptRequest& kept) {
  const RequestRecord& record = kept.record;
  fields.emplace_back("model", record.model);
  fields.emplace_back("prompt_tokens", record.prompt_tokens);
  fields.emplace_back("cached_tokens", record.cached_tokens);
  fields.emplace_back("generated_tokens", kept.generated_tokens);
  fields.emplace_back("queued_ms", kept.times.queued_ms);
  fields.emplace_back("prefill_ms", kept.times.prefill_ms);
  fields.emplace_back("decode_ms", kept.times.decode_ms);
  if (record.cancelled != Phase::none) {
    fields.emplace_back("cancelled", std::string(to_string(record.cancelled)));
  }
}

}  // namespace

void log_exchange(const http::Exchange& exchange, const RequestHistory& history) {
  std::vector<LogField> fields = {
      {"method", exchange.method},      {"path", exchange.path},
      {"status", exchange.status},      {"ms", static_cast<int64_t>(exchange.seconds * 1000)},
      {"request", exchange.request_id},
  };
  if (!exchange.key_id.empty()) fields.emplace_back("key_id", exchange.key_id);
  if (exchange.method == "POST") {
    const auto kept = history.find(exchange.request_id);
    const bool is_its = kept && kept->record.finished && kept->record.endpoint == exchange.route;
    if (is_its) add_completion(fields, *kept);
  }
  log_fields(is_watcher(exchange.path) ? LogLevel::debug : LogLevel::info, "request", fields);
}

}  // namespace tristill::ops
