#include "server/openai/refusal.h"

#include "server/http/error.h"

namespace tristill::openai {
namespace {

constexpr size_t kMaxBodyBytes = 8 << 20;

}  // namespace

http::Response refusal(const Error& error, std::string_view code) {
  if (error.code == ErrorCode::not_found) {
    return http::error_response(404, "invalid_request_error", error.message, error.param,
                                "model_not_found");
  }
  return http::error_response(http::status_of(error.code), "", error.message, error.param, code);
}

std::optional<http::Response> refusal_of_size(const http::Request& request) {
  if (request.body.size() <= kMaxBodyBytes) return std::nullopt;
  return http::error_response(413, "", "the body is larger than 8 MiB", "", "");
}

}  // namespace tristill::openai
