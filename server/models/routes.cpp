#include "server/models/routes.h"

#include <nlohmann/json.hpp>
#include <optional>

#include "server/http/error.h"
#include "server/http/json.h"

namespace tristill::models {
namespace {

using nlohmann::json;

constexpr size_t kMaxBodyBytes = 1 << 16;

json to_json(const ServedModel& served, const Registry& registry) {
  const ModelConfig& config = served.model->config;
  json provenance = json::object();
  for (const auto& [key, value] : served.model->provenance) provenance[key] = value;
  return {{"id", served.name},
          {"object", "model"},
          {"created", served.created},
          {"owned_by", "tristill"},
          {"aliases", registry.aliases_of(served.name)},
          {"max_model_len", served.engine->max_context()},
          {"meta",
           {{"n_params", count_parameters(config).total()},
            {"n_ternary_params", count_parameters(config).ternary},
            {"kv_bytes_per_token", kv_bytes_per_token(config)},
            {"activation_bits", config.activation_bits},
            {"weight_bytes", served.model->weight_bytes},
            {"size", served.model->weight_bytes},
            {"n_vocab", config.vocab_size},
            {"n_ctx_train", config.max_context},
            {"n_embd", config.d_model},
            {"weights", to_string(config.weights)},
            {"fim", served.model->tokenizer->special().has_fim()},
            {"tokenizer", served.model->tokenizer->fingerprint()},
            {"fingerprint", served.model->fingerprint},
            {"provenance", provenance}}}};
}

http::Response unknown_model(const std::string& name) {
  return http::error_response(404, "invalid_request_error",
                              "no model is called \"" + name + "\"; GET /v1/models lists them",
                              "model", "model_not_found");
}

http::Response refusal(const Error& error) {
  const bool no_memory =
      error.code == ErrorCode::resource_exhausted && error.param == "kv_cache_tokens";
  if (no_memory) return http::error_response(507, "", error.message, error.param, "out_of_memory");
  const bool no_json = error.code == ErrorCode::invalid_argument && error.param.empty();
  if (no_json) return http::error_response(400, "", error.message, "", "invalid_json");
  return http::error_response(error);
}

struct AddRequest {
  std::optional<std::string> name;
  std::string path;
};

Error wrong(const std::string& field, const std::string& accepted) {
  return {ErrorCode::invalid_argument, field + ": accepted is " + accepted, field};
}

Result<AddRequest> parse_add(const std::string& body) {
  const json object = json::parse(body, nullptr, false);
  if (!object.is_object()) {
    return Error{ErrorCode::invalid_argument, "the body is no JSON object: {\"path\": ...}", ""};
  }
  AddRequest wanted;
  for (const auto& [key, value] : object.items()) {
    if (key != "name" && key != "path") {
      return Error{ErrorCode::invalid_argument,
                   "\"" + key.substr(0, 100) + "\" is no field; accepted are name and path", key};
    }
    if (key == "name" && value.is_null()) continue;
    if (!value.is_string()) return wrong(key, "a text");
    if (key == "name") wanted.name = value.get<std::string>();
    else wanted.path = value.get<std::string>();
  }
  if (wanted.path.empty()) return wrong("path", "the name of a model file");
  return wanted;
}

http::Response add(const http::Request& request, const Registry& registry, ModelFiles& files) {
  if (request.body.size() > kMaxBodyBytes) {
    return http::error_response(413, "", "the body is larger than 64 KiB", "", "");
  }
  const auto wanted = parse_add(request.body);
  if (!wanted) return refusal(wanted.error());
  const auto name = files.add(wanted->name, wanted->path);
  if (!name) return refusal(name.error());
  const auto served = registry.exact(*name);
  return served ? http::json_response(to_json(*served, registry)) : unknown_model(*name);
}

http::Response remove(const std::string& name, const http::Request& request, ModelFiles& files) {
  const auto given = request.query.find("delete_file");
  const std::string delete_file = given == request.query.end() ? "false" : given->second;
  if (delete_file != "true" && delete_file != "false") {
    return refusal(wrong("delete_file", "true or false"));
  }
  const auto done = files.remove(name, delete_file == "true");
  if (done) return http::json_response({{"id", name}, {"object", "model"}, {"deleted", true}});
  return done.error().code == ErrorCode::not_found ? unknown_model(name) : refusal(done.error());
}

}  // namespace

void add_routes(http::Router& router, const Registry& registry) {
  router.add("GET", "/v1/models", [&registry](const http::Request&) {
    json data = json::array();
    for (const auto& served : registry.list()) data.push_back(to_json(*served, registry));
    return http::json_response({{"object", "list"}, {"data", data}});
  });
  router.add("GET", "/v1/models/{id...}", [&registry](const http::Request& request) {
    const std::string& name = request.path_params.at("id");
    const auto served = registry.named(name);
    return served ? http::json_response(to_json(*served, registry)) : unknown_model(name);
  });
}

void add_change_routes(http::Router& router, const Registry& registry, ModelFiles& files) {
  router.add("POST", "/models",
             [&](const http::Request& request) { return add(request, registry, files); });
  router.add("DELETE", "/models/{name}", [&files](const http::Request& request) {
    return remove(request.path_params.at("name"), request, files);
  });
  router.add("DELETE", "/v1/models/{id...}", [&files](const http::Request& request) {
    return remove(request.path_params.at("id"), request, files);
  });
}

}  // namespace tristill::models
