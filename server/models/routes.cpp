#include "server/models/routes.h"

#include <nlohmann/json.hpp>

#include "server/http/error.h"
#include "server/http/json.h"

namespace tristill::models {
namespace {

using nlohmann::json;

json to_json(const ServedModel& served) {
  const ModelConfig& config = served.model->config;
  json provenance = json::object();
  for (const auto& [key, value] : served.model->provenance) provenance[key] = value;
  return {{"id", served.name},
          {"object", "model"},
          {"created", served.created},
          {"owned_by", "tristill"},
          {"max_model_len", served.engine->max_context()},
          {"meta",
           {{"n_params", count_parameters(config).total()},
            {"weight_bytes", served.model->weight_bytes},
            {"n_vocab", config.vocab_size},
            {"n_ctx_train", config.max_context},
            {"n_embd", config.d_model},
            {"weights", to_string(config.weights)},
            {"fim", served.model->tokenizer->special().has_fim()},
            {"tokenizer", served.model->tokenizer->fingerprint()},
            {"fingerprint", served.model->fingerprint},
            {"provenance", provenance}}}};
}

}  // namespace

void add_routes(http::Router& router, const Registry& registry) {
  router.add("GET", "/v1/models", [&registry](const http::Request&) {
    json data = json::array();
    for (const auto& served : registry.list()) data.push_back(to_json(*served));
    return http::json_response({{"object", "list"}, {"data", data}});
  });
  router.add("GET", "/v1/models/{id...}", [&registry](const http::Request& request) {
    const std::string& name = request.path_params.at("id");
    const auto served = registry.exact(name);
    if (served) return http::json_response(to_json(*served));
    return http::error_response(404, "invalid_request_error",
                                "no model is called \"" + name + "\"; GET /v1/models lists them",
                                "model", "model_not_found");
  });
}

}  // namespace tristill::models
