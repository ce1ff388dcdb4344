// ErrorCode -> HTTP status and OpenAI's error object, in one place.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "base/result.h"
#include "server/http/message.h"

namespace tristill::http {

int status_of(ErrorCode code);
// "Not Found" for 404; "Error" for a status that is never sent.
std::string_view reason_of(int status);

// {"error": {"message", "type", "param", "code"}}; param and code are null when empty.
// type and code default to those of the status (invalid_request_error, not_found_error, ...).
// 429 and 503 say when to come again: in a second, unless set_retry_after says otherwise.
// x-should-retry tells clients that retry by themselves (OpenAI's) whether that can help.
Response error_response(const Error& error);
Response error_response(int status, std::string_view type, std::string_view message,
                        std::string_view param, std::string_view code);

// Retry-After in whole seconds, rounded up, at least 1, and retry-after-ms. Beyond a minute a
// client that retries by itself would ask again too soon: x-should-retry is then false.
void set_retry_after(Response& response, std::chrono::milliseconds wait);

}  // namespace tristill::http
