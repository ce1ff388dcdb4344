// JSON that clients send for a chat template -> the template's values. Any thread.
#pragma once

#include <nlohmann/json.hpp>

#include "server/jinja/value.h"

namespace tristill::chat {

// Strings are data: they never become control tokens. Keys keep their order. For JSON that is
// nested no deeper than the edge allows.
jinja::Value to_value(const nlohmann::ordered_json& json);

}  // namespace tristill::chat
