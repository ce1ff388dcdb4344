// ErrorCode -> HTTP status and OpenAI's error object, in one place.
#pragma once

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
Response error_response(const Error& error);
Response error_response(int status, std::string_view type, std::string_view message,
                        std::string_view param, std::string_view code);

}  // namespace tristill::http
