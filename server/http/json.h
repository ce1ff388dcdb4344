// A JSON value as the body of an answer.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "server/http/message.h"

namespace tristill::http {

// One line; bytes that are no UTF-8 become U+FFFD.
Response json_response(const nlohmann::json& body);

}  // namespace tristill::http
