// A conversation as a chat template takes it. Plain data; parsed from JSON by server/openai.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/jinja/value.h"

namespace tristill::chat {

enum class Role { system, developer, user, assistant, tool };

// As on the wire.
constexpr std::string_view to_string(Role role) {
  switch (role) {
    case Role::system: return "system";
    case Role::developer: return "developer";
    case Role::user: return "user";
    case Role::assistant: return "assistant";
    case Role::tool: return "tool";
  }
  return "";
}

struct ToolCall {
  std::string id;
  std::string name;
  jinja::Value arguments;  // a dictionary; a string where what was sent is no JSON object
};

// Strings are UTF-8.
struct ChatMessage {
  Role role = Role::user;
  std::optional<std::string> content;   // none: an assistant's message of tool calls alone
  std::string name;                     // empty: not given
  std::string tool_call_id;             // empty: not given
  std::vector<ToolCall> tool_calls;
};

}  // namespace tristill::chat
