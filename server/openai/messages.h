// The conversation in a request's body: messages, and what else decides how it becomes a prompt.
// Pure: any thread.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "server/chat/chat_template.h"
#include "server/openai/fields.h"

namespace tristill::openai {

constexpr size_t kMaxMessages = 4096;
constexpr size_t kMaxToolCalls = 128;
constexpr size_t kMaxNameBytes = 256;  // of a name or an id in a message

// OpenAI's list: roles system, developer, user, assistant, tool; content a string or a list of
// {"type": "text"} parts, which are joined by line ends. Unknown fields of a message are left out.
// Errors: invalid_argument, param the path: "messages[2].content[0].type".
Result<std::vector<chat::ChatMessage>> parse_messages(const nlohmann::json& messages);

struct ChatPrompt {
  std::vector<chat::ChatMessage> messages;  // at least one
  chat::RenderOptions options;
};

// Reads messages, add_generation_prompt, continue_final_message, tools and chat_template_kwargs, as
// vLLM and llama.cpp name them. body: the text that fields were read from; the keys of tools keep
// the order that they have there. Errors: as parse_messages; messages missing.
Result<ChatPrompt> parse_chat_prompt(Fields& fields, std::string_view body);

}  // namespace tristill::openai
