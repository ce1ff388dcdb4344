#include "server/access/routes.h"

#include <nlohmann/json.hpp>

#include "base/log.h"
#include "server/access/key_file.h"
#include "server/http/error.h"
#include "server/http/json.h"

namespace tristill::access {
namespace {

using nlohmann::json;

json limit_or_null(uint32_t per_minute) { return per_minute == 0 ? json() : json(per_minute); }

json to_json(const Key& key) {
  json scopes = json::array();
  for (const Scope scope : key.scopes) scopes.push_back(to_string(scope));
  const bool from_setting = key.id == kSettingKeyId;
  return {{"id", key.id},
          {"object", "api_key"},
          {"name", key.name},
          {"scopes", scopes},
          {"created", from_setting ? json() : json(key.created)},
          {"expires_at", key.expires_at ? json(*key.expires_at) : json()},
          {"requests_per_minute", limit_or_null(key.rates.requests_per_minute)},
          {"tokens_per_minute", limit_or_null(key.rates.tokens_per_minute)}};
}

http::Response refusal(const Error& error) {
  if (error.code != ErrorCode::resource_exhausted) return http::error_response(error);
  return http::error_response(507, "",
                              "the data directory's disk is full, nothing was changed (" +
                                  error.message + "); free some space and try again",
                              "", "storage_full");
}

http::Response create(KeyStore& keys, const http::Request& request) {
  const auto wanted = parse_key_request(request.body);
  if (!wanted) return http::error_response(wanted.error());
  const auto made = keys.create(*wanted);
  if (!made) return refusal(made.error());
  log_info("key made", {{"id", made->key.id}, {"by", request.key_id}});
  json body = to_json(made->key);
  body["key"] = made->secret;
  http::Response response = http::json_response(body);
  response.headers["Cache-Control"] = "no-store";
  return response;
}

http::Response remove(KeyStore& keys, const http::Request& request) {
  const std::string& id = request.path_params.at("id");
  if (const auto removed = keys.remove(id); !removed) return refusal(removed.error());
  log_info("key deleted", {{"id", id}, {"by", request.key_id}});
  return http::json_response({{"id", id}, {"object", "api_key"}, {"deleted", true}});
}

}  // namespace

void add_routes(http::Router& router, KeyStore& keys) {
  router.add("GET", "/keys", [&keys](const http::Request&) {
    json data = json::array();
    for (const Key& key : keys.list()) data.push_back(to_json(key));
    return http::json_response({{"object", "list"}, {"data", data}});
  });
  router.add("POST", "/keys",
             [&keys](const http::Request& request) { return create(keys, request); });
  router.add("DELETE", "/keys/{id}",
             [&keys](const http::Request& request) { return remove(keys, request); });
}

}  // namespace tristill::access
