#include "server/traces/service.h"

#include <atomic>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "server/http/error.h"
#include "server/traces/trace_sets.h"
#include "server/traces/upload.h"

namespace tristill::traces {
namespace {

using Json = nlohmann::ordered_json;
using http::Request;
using http::Response;

std::string value_of(const std::map<std::string, std::string>& values, const std::string& name) {
  const auto found = values.find(name);
  return found == values.end() ? std::string() : found->second;
}

Json to_json(const TraceSet& set) {
  return {{"id", set.name},
          {"object", "trace"},
          {"name", set.name},
          {"created_at", set.created_at},
          {"records", set.records},
          {"tokens", set.tokens},
          {"scored_tokens", set.scored_tokens},
          {"bytes", set.bytes},
          {"tokenizer", set.tokenizer}};
}

Response json_response(const Json& json) {
  Response response;
  response.body = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  return response;
}

Response refusal(const Error& error) {
  if (error.code == ErrorCode::resource_exhausted) {
    return http::error_response(507, "server_error",
                                "the data directory's disk is full, nothing was stored (" +
                                    error.message + "); free some space and try again",
                                "", "storage_full");
  }
  // Damage of our own file, not of what the client sent.
  if (error.code == ErrorCode::corrupt) {
    return http::error_response(500, "server_error", error.message, error.param, "corrupt");
  }
  Response response = http::error_response(error);
  if (error.code == ErrorCode::conflict) response.headers["x-should-retry"] = "false";
  return response;
}

}  // namespace

struct TraceService::Parts {
  explicit Parts(TraceServiceOptions given)
      : options(std::move(given)), sets(options.data_dir / "traces") {}

  Response upload(const Request& request);
  Response list();
  Response show(const Request& request);
  Response remove(const Request& request);

  TraceServiceOptions options;
  mutable TraceSets sets;
  std::atomic<uint64_t> accepted_records{0};
  std::atomic<uint64_t> refused_uploads{0};
};

Response TraceService::Parts::upload(const Request& request) {
  const std::string name = value_of(request.query, "name");
  size_t n_records = 0;
  const auto set = [&]() -> Result<TraceSet> {
    if (auto named = check_set_name(name); !named) return named.error();
    auto records = parse_upload(request.body);
    if (!records) return records.error();
    n_records = records->size();
    return sets.append(name, *records);
  }();
  if (!set) {
    ++refused_uploads;
    return refusal(set.error());
  }
  accepted_records += n_records;
  Json answer = to_json(*set);
  answer["added_records"] = n_records;
  return json_response(answer);
}

Response TraceService::Parts::list() {
  Json data = Json::array();
  for (const TraceSet& set : sets.list()) data.push_back(to_json(set));
  return json_response({{"object", "list"}, {"data", data}, {"has_more", false}});
}

Response TraceService::Parts::show(const Request& request) {
  const auto set = sets.summary(value_of(request.path_params, "name"));
  return set ? json_response(to_json(*set)) : refusal(set.error());
}

Response TraceService::Parts::remove(const Request& request) {
  const std::string name = value_of(request.path_params, "name");
  if (options.in_use && sets.shard_path(name) && options.in_use(name)) {
    return refusal({ErrorCode::conflict,
                    "trace set \"" + name +
                        "\" is named by a job that has not ended; wait for it or "
                        "cancel it first",
                    "name"});
  }
  const auto removed = sets.remove(name);
  if (!removed) return refusal(removed.error());
  return json_response({{"id", name}, {"object", "trace"}, {"deleted", true}});
}

Result<std::unique_ptr<TraceService>> TraceService::open(TraceServiceOptions options) {
  std::error_code error;
  options.data_dir = std::filesystem::absolute(options.data_dir, error);
  if (!error) std::filesystem::create_directories(options.data_dir / "traces", error);
  if (error) {
    const bool full = error == std::errc::no_space_on_device;
    return Error{
        full ? ErrorCode::resource_exhausted : ErrorCode::unavailable,
        "cannot use the data directory " + options.data_dir.string() + ": " + error.message(),
        "data_dir"};
  }
  auto parts = std::make_unique<Parts>(std::move(options));
  return std::unique_ptr<TraceService>(new TraceService(std::move(parts)));
}

TraceService::TraceService(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
TraceService::~TraceService() = default;

void TraceService::add_routes(http::Router& router) {
  Parts& parts = *parts_;
  router.add("POST", "/traces", [&parts](const Request& r) { return parts.upload(r); });
  router.add("GET", "/traces", [&parts](const Request&) { return parts.list(); });
  router.add("GET", "/traces/{name}", [&parts](const Request& r) { return parts.show(r); });
  router.add("DELETE", "/traces/{name}", [&parts](const Request& r) { return parts.remove(r); });
}

std::optional<std::filesystem::path> TraceService::shard_path(const std::string& name) const {
  return parts_->sets.shard_path(name);
}

TraceCounts TraceService::counts() const {
  return {.sets = parts_->sets.list().size(),
          .accepted_records = parts_->accepted_records,
          .refused_uploads = parts_->refused_uploads};
}

}  // namespace tristill::traces
