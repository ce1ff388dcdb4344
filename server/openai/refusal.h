// What all routes of this folder say no with.
#pragma once

#include <optional>
#include <string_view>

#include "base/result.h"
#include "server/http/message.h"

namespace tristill::openai {

// OpenAI's error object; of a model that is not there with OpenAI's code.
http::Response refusal(const Error& error, std::string_view code = "");

// The refusal of a body that is larger than any that is taken; nothing for others.
std::optional<http::Response> refusal_of_size(const http::Request& request);

}  // namespace tristill::openai
