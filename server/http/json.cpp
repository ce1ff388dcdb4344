#include "server/http/json.h"

#include <nlohmann/json.hpp>

namespace tristill::http {

Response json_response(const nlohmann::json& body) {
  Response response;
  response.body = body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  return response;
}

}  // namespace tristill::http
