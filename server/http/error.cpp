#include "server/http/error.h"

#include <algorithm>
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
    case 421: return {"invalid_request_error", "host_not_allowed"};
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

// Empty where it depends: our own failures may have come with the request, or not.
std::string_view should_retry(int status) {
  if (status == 408 || status == 429 || status == 503) return "true";
  const bool is_final = (status >= 400 && status < 500) || status == 501 || status == 505;
  return is_final ? "false" : "";
}

constexpr std::chrono::minutes kLongestRetry{1};

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
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 413: return "Payload Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 421: return "Misdirected Request";
    case 429: return "Too Many Requests";
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
  if (!should_retry(status).empty()) response.headers["x-should-retry"] = should_retry(status);
  if (status == 429 || status == 503) set_retry_after(response, std::chrono::seconds(1));
  if (status == 401) response.headers["WWW-Authenticate"] = "Bearer";
  return response;
}

void set_retry_after(Response& response, std::chrono::milliseconds wait) {
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(wait).count();
  response.headers["Retry-After"] = std::to_string(std::max<int64_t>(seconds, 1));
  response.headers["retry-after-ms"] = std::to_string(std::max<int64_t>(wait.count(), 0));
  response.headers["x-should-retry"] = wait > kLongestRetry ? "false" : "true";
}

Response error_response(const Error& error) {
  return error_response(status_of(error.code), "", error.message, error.param, "");
}

}  // namespace tristill::http
