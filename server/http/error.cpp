#include "server/http/error.h"

#include <nlohmann/json.hpp>

#include "server/http/json.h"

namespace tristill::http {
namespace {

struct Kind {
  std::string_view type, code;
};

Kind kind_of(int status) {
  switch (status) {
    case 400: return {"invalid_request_error", "invalid_value"};
    case 401: return {"authentication_error", "invalid_api_key"};
    case 403: return {"permission_error", "forbidden"};
    case 404: return {"not_found_error", "not_found"};
    case 405: return {"invalid_request_error", "method_not_allowed"};
    case 408: return {"invalid_request_error", "request_timeout"};
    case 409: return {"conflict_error", "conflict"};
    case 411:
    case 413:
    case 431: return {"invalid_request_error", "too_large"};
    case 415: return {"invalid_request_error", "unsupported_media_type"};
    case 414: return {"invalid_request_error", "too_large"};
    case 422: return {"invalid_request_error", "corrupt"};
    case 429: return {"rate_limit_error", "queue_full"};
    case 499: return {"cancelled", "cancelled"};
    case 501: return {"not_supported_error", "not_implemented"};
    case 503: return {"unavailable_error", "unavailable"};
    case 505: return {"not_supported_error", "version_not_supported"};
    case 507: return {"server_error", "disk_full"};
    default: return {"server_error", "internal"};
  }
}

}  // namespace

int status_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument: return 400;
    case ErrorCode::not_found: return 404;
    case ErrorCode::conflict: return 409;
    case ErrorCode::resource_exhausted: return 429;
    case ErrorCode::unavailable: return 503;
    case ErrorCode::corrupt: return 422;
    case ErrorCode::cancelled: return 499;
    case ErrorCode::internal: return 500;
  }
  return 500;
}

std::string_view reason_of(int status) {
  switch (status) {
    case 200: return "OK";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 408: return "Request Timeout";
    case 413: return "Payload Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 503: return "Service Unavailable";
    case 505: return "HTTP Version Not Supported";
    default: return "Error";
  }
}

Response error_response(int status, std::string_view type, std::string_view message,
                        std::string_view param, std::string_view code) {
  const auto text_or_null = [](std::string_view text) {
    return text.empty() ? nlohmann::json() : nlohmann::json(text);
  };
  const nlohmann::json body = {
      {"error",
       {{"message", message},
        {"type", type.empty() ? kind_of(status).type : type},
        {"param", text_or_null(param)},
        {"code", text_or_null(code.empty() ? kind_of(status).code : code)}}}};
  Response response = json_response(body);
  response.status = status;
  if (status == 429 || status == 503) {
    response.headers["Retry-After"] = "1";
    response.headers["retry-after-ms"] = "1000";
  }
  if (status == 409) response.headers["x-should-retry"] = "false";
  if (status == 401) response.headers["WWW-Authenticate"] = "Bearer";
  return response;
}

Response error_response(const Error& error) {
  return error_response(status_of(error.code), "", error.message, error.param, "");
}

}  // namespace tristill::http
