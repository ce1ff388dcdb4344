#include "server/ops/debug_routes.h"

#include <charconv>
#include <nlohmann/json.hpp>

#include "server/http/error.h"
#include "server/http/json.h"

namespace tristill::ops {
namespace {

using nlohmann::json;

constexpr size_t kDefaultLimit = 100;

json text_or_null(const std::string& text) { return text.empty() ? json() : json(text); }

json timings_json(double queued_ms, double prefill_ms, double decode_ms) {
  return {{"queued_ms", queued_ms}, {"prefill_ms", prefill_ms}, {"decode_ms", decode_ms}};
}

json to_json(const KeptRequest& kept) {
  const RequestRecord& record = kept.record;
  json choices = json::array();
  for (const ChoiceRecord& choice : record.choices) {
    json one = timings_json(choice.queued_ms, choice.prefill_ms, choice.decode_ms);
    one["prompt_tokens"] = choice.prompt_tokens;
    one["generated_tokens"] = choice.generated_tokens;
    if (record.finished) one["finished_reason"] = to_string(choice.finished_reason);
    else one["finished_reason"] = nullptr;
    choices.push_back(std::move(one));
  }
  json reasons = json::object();
  for (const auto& [reason, count] : kept.finished) reasons[to_string(reason)] = count;
  json timings = timings_json(kept.times.queued_ms, kept.times.prefill_ms, kept.times.decode_ms);
  timings["total_ms"] = record.total_ms;
  return {
      {"id", record.request_id},
      {"object", "debug.request"},
      {"state", record.finished ? "finished" : "running"},
      {"endpoint", record.endpoint},
      {"model", text_or_null(record.model)},
      {"key_id", text_or_null(record.key_id)},
      {"status", record.status == 0 ? json() : json(record.status)},
      {"error", text_or_null(record.error)},
      {"stream", record.stream},
      {"n", record.n},
      {"max_tokens", record.max_tokens},
      {"n_prompts", record.n_prompts},
      {"prompt_tokens", record.prompt_tokens},
      {"cached_tokens", record.cached_tokens},
      {"generated_tokens", kept.generated_tokens},
      {"accepted_drafts", record.accepted_drafts},
      {"rejected_drafts", record.rejected_drafts},
      {"finished_reasons", reasons},
      {"cancelled", record.cancelled == Phase::none ? json() : json(to_string(record.cancelled))},
      {"started_unix_ms", record.started_unix_ms},
      {"timings", timings},
      {"choices", choices}};
}

std::optional<size_t> read_limit(const http::Request& request) {
  const auto given = request.query.find("limit");
  if (given == request.query.end()) return kDefaultLimit;
  const std::string& text = given->second;
  size_t limit = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), limit);
  const bool whole = failure == std::errc() && end == text.data() + text.size();
  return whole && limit <= kHistoryRequests ? std::optional(limit) : std::nullopt;
}

}  // namespace

void add_debug_routes(http::Router& router, const RequestHistory& history) {
  router.add("GET", "/debug/requests", [&history](const http::Request& request) {
    const auto limit = read_limit(request);
    if (!limit) {
      return http::error_response({ErrorCode::invalid_argument,
                                   "limit is \"" + request.query.at("limit") +
                                       "\"; accepted is a number from 0 to " +
                                       std::to_string(kHistoryRequests),
                                   "limit"});
    }
    json data = json::array();
    for (const KeptRequest& kept : history.list(*limit)) data.push_back(to_json(kept));
    return http::json_response({{"object", "list"}, {"data", data}});
  });
  router.add("GET", "/debug/requests/{id...}", [&history](const http::Request& request) {
    const std::string& id = request.path_params.at("id");
    if (const auto kept = history.find(id)) return http::json_response(to_json(*kept));
    return http::error_response({ErrorCode::not_found,
                                 "no completion request " + id + " is known; the last " +
                                     std::to_string(kHistoryRequests) + " are",
                                 "id"});
  });
}

}  // namespace tristill::ops
