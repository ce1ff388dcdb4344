// tristill health and tristill requests: whether the daemon answers, and what it answered.
#include <algorithm>

#include "client/commands.h"
#include "client/fields.h"

namespace tristill::client {
namespace {

ExitCode show_health(Session& session) {
  const Json answer = session.api.get("/health");
  if (session.out.json()) {
    session.out.object(answer);
  } else {
    session.out.text(session.api.server() + " " + printable(text_of(answer, "status")) + "\n");
  }
  return kExitOk;
}

std::string number_text(const Json& object, const char* key) {
  const auto count = count_of(object, key);
  return count ? std::to_string(*count) : "";
}

// How the request ended, or that it has not.
std::string outcome_of(const Json& request) {
  if (const std::string phase = text_of(request, "cancelled"); !phase.empty()) {
    return "cancelled in " + phase;
  }
  if (text_of(request, "state") != "finished") return text_of(request, "state");
  if (const std::string error = text_of(request, "error"); !error.empty()) return error;
  std::string reasons;
  const Json& all = field_of(request, "finished_reasons");
  if (all.is_object()) {
    for (const auto& item : all.items()) reasons += (reasons.empty() ? "" : ",") + item.key();
  }
  return reasons;
}

std::string milliseconds_text(const Json& request, const char* key) {
  const auto value = number_of(field_of(request, "timings"), key);
  return value ? format_latency(*value / 1000) : "";
}

std::vector<std::string> row_of(const Json& request) {
  return {text_of(request, "id"),
          format_time(time_of(request, "started_unix_ms") / 1000),
          text_of(request, "endpoint"),
          text_of(request, "model"),
          number_text(request, "prompt_tokens"),
          number_text(request, "cached_tokens"),
          number_text(request, "generated_tokens"),
          milliseconds_text(request, "queued_ms"),
          milliseconds_text(request, "prefill_ms"),
          milliseconds_text(request, "decode_ms"),
          outcome_of(request)};
}

ExitCode list_requests(Session& session, uint32_t limit) {
  const Json answer = session.api.get("/debug/requests?limit=" + std::to_string(limit));
  if (session.out.json()) {
    session.out.object(answer);
    return kExitOk;
  }
  std::vector<std::vector<std::string>> rows;
  for (const Json& request : list_of(answer, "data")) rows.push_back(row_of(request));
  session.out.text(rows.empty()
                       ? "no requests yet\n"
                       : format_table({"ID", "STARTED", "ENDPOINT", "MODEL", "PROMPT", "CACHED",
                                       "WRITTEN", "QUEUE", "PREFILL", "DECODE", "OUTCOME"},
                                      rows));
  return kExitOk;
}

}  // namespace

void add_daemon_commands(CLI::App& app, Plan& plan) {
  app.add_subcommand("health", "Ask whether the daemon answers; the exit status tells")
      ->callback([&plan] { plan.action = show_health; });
  auto limit = std::make_shared<uint32_t>(20);
  CLI::App* requests = app.add_subcommand("requests", "List the last completion requests");
  requests->add_option("--limit", *limit, "Most requests to list")->capture_default_str();
  requests->callback([limit, &plan] {
    plan.action = [limit](Session& session) { return list_requests(session, *limit); };
  });
}

}  // namespace tristill::client
