#include "server/openai/messages.h"

#include <algorithm>

#include "server/chat/json_value.h"

namespace tristill::openai {
namespace {

using chat::ChatMessage;
using chat::Role;
using nlohmann::json;

constexpr Role kRoles[] = {Role::system, Role::developer, Role::user, Role::assistant, Role::tool};
constexpr const char* kAcceptedRoles = "system, developer, user, assistant or tool";
constexpr const char* kAcceptedContent = "a string or a list of {\"type\": \"text\"} parts";

Error missing(const std::string& name, const std::string& accepted) {
  return {ErrorCode::invalid_argument, name + " is missing; accepted is " + accepted, name};
}

// An error of an object that stands at path.
Error within(const std::string& path, Error error) {
  error.message = path + "." + error.message;
  error.param = path + "." + error.param;
  return error;
}

std::string indexed(const std::string& name, size_t i) {
  return name + "[" + std::to_string(i) + "]";
}

Result<Role> read_role(Fields& fields) {
  const json* value = fields.find("role");
  if (value == nullptr) return missing("role", kAcceptedRoles);
  if (value->is_string()) {
    for (const Role role : kRoles) {
      if (value->get_ref<const std::string&>() == chat::to_string(role)) return role;
    }
  }
  fields.refuse("role", *value, kAcceptedRoles);
  return *fields.error();
}

Result<std::string> read_part(const json& part) {
  Fields fields(part);
  const json* type = fields.find("type");
  if (type == nullptr) return missing("type", "text");
  if (*type != "text") {
    fields.refuse("type", *type, "text: this server reads nothing else");
    return *fields.error();
  }
  if (fields.find("text") == nullptr) return missing("text", "a string");
  std::string text;
  fields.text("text", [&](std::string value) { text = std::move(value); });
  if (fields.error()) return *fields.error();
  return text;
}

Result<std::string> read_content(Fields& fields, const json& content) {
  if (content.is_string()) return content.get<std::string>();
  if (!content.is_array() || content.empty()) {
    fields.refuse("content", content, kAcceptedContent);
    return *fields.error();
  }
  std::string text;
  for (size_t i = 0; i < content.size(); ++i) {
    if (!content[i].is_object()) {
      fields.refuse(indexed("content", i), content[i], "an object");
      return *fields.error();
    }
    const auto part = read_part(content[i]);
    if (!part) return within(indexed("content", i), part.error());
    text += (i == 0 ? "" : "\n") + *part;
  }
  return text;
}

Result<std::string> read_short_text(Fields& fields, const char* name) {
  std::string text;
  fields.text(name, [&](std::string value) { text = std::move(value); });
  if (text.size() > kMaxNameBytes) {
    fields.refuse(name, text, "a string of at most " + std::to_string(kMaxNameBytes) + " bytes");
  }
  if (fields.error()) return *fields.error();
  return text;
}

// A string of JSON, as OpenAI has it, becomes the dictionary that templates are written for.
jinja::Value arguments_value(const json& arguments) {
  if (arguments.is_object()) return chat::to_value(nlohmann::ordered_json(arguments));
  const auto& text = arguments.get_ref<const std::string&>();
  const auto object = parse_ordered_object(text);
  return object ? chat::to_value(*object) : jinja::make_text(text, jinja::Origin::data);
}

Result<chat::ToolCall> read_tool_call(const json& call) {
  Fields fields(call);
  chat::ToolCall read;
  auto id = read_short_text(fields, "id");
  if (!id) return id.error();
  read.id = std::move(*id);
  const json* type = fields.find("type");
  if (type != nullptr && *type != "function") fields.refuse("type", *type, "function");
  if (fields.error()) return *fields.error();
  const json* function = fields.find("function");
  if (function == nullptr || !function->is_object())
    return missing("function", "an object with name and arguments");
  Fields inner(*function);
  auto name = read_short_text(inner, "name");
  if (!name) return within("function", name.error());
  if (name->empty()) return within("function", missing("name", "the function's name"));
  read.name = std::move(*name);
  const json* arguments = inner.find("arguments");
  if (arguments == nullptr) return within("function", missing("arguments", "a string of JSON"));
  if (!arguments->is_string() && !arguments->is_object()) {
    inner.refuse("arguments", *arguments, "a string of JSON");
    return within("function", *inner.error());
  }
  read.arguments = arguments_value(*arguments);
  return read;
}

Result<std::vector<chat::ToolCall>> read_tool_calls(Fields& fields) {
  std::vector<chat::ToolCall> calls;
  const json* list = fields.find("tool_calls");
  if (list == nullptr) return calls;
  if (!list->is_array() || list->size() > kMaxToolCalls) {
    fields.refuse("tool_calls", *list, "a list of at most " + std::to_string(kMaxToolCalls));
    return *fields.error();
  }
  for (size_t i = 0; i < list->size(); ++i) {
    const std::string path = indexed("tool_calls", i);
    if (!(*list)[i].is_object()) {
      fields.refuse(path, (*list)[i], "an object");
      return *fields.error();
    }
    auto call = read_tool_call((*list)[i]);
    if (!call) return within(path, call.error());
    calls.push_back(std::move(*call));
  }
  return calls;
}

Result<ChatMessage> read_message(const json& object) {
  Fields fields(object);
  ChatMessage message;
  const auto role = read_role(fields);
  if (!role) return role.error();
  message.role = *role;
  auto name = read_short_text(fields, "name");
  if (!name) return name.error();
  message.name = std::move(*name);
  auto tool_call_id = read_short_text(fields, "tool_call_id");
  if (!tool_call_id) return tool_call_id.error();
  message.tool_call_id = std::move(*tool_call_id);
  auto calls = read_tool_calls(fields);
  if (!calls) return calls.error();
  message.tool_calls = std::move(*calls);
  const json* content = fields.find("content");
  if (content == nullptr) {
    if (message.role == Role::assistant && !message.tool_calls.empty()) return message;
    return missing("content", kAcceptedContent);
  }
  auto text = read_content(fields, *content);
  if (!text) return text.error();
  message.content = std::move(*text);
  return message;
}

Result<void> read_template_variables(const json* given, std::string_view body,
                                     chat::RenderOptions& options) {
  if (given == nullptr) return {};
  if (!given->is_object()) {
    return Error{ErrorCode::invalid_argument,
                 "chat_template_kwargs is no object of the chat template's variables",
                 "chat_template_kwargs"};
  }
  const auto ordered = parse_ordered_object(body);
  if (!ordered) return ordered.error();
  for (const auto& [name, value] : ordered->at("chat_template_kwargs").items()) {
    options.variables[name] = chat::to_value(value);
  }
  return {};
}

Result<void> read_tools(const json* given, std::string_view body, chat::RenderOptions& options) {
  if (given == nullptr) return {};
  const bool are_objects =
      given->is_array() &&
      std::all_of(given->begin(), given->end(), [](const json& tool) { return tool.is_object(); });
  if (!are_objects) {
    return Error{ErrorCode::invalid_argument, "tools is no list of objects", "tools"};
  }
  const auto ordered = parse_ordered_object(body);
  if (!ordered) return ordered.error();
  if (!given->empty()) options.tools = chat::to_value(ordered->at("tools"));
  return {};
}

}  // namespace

Result<std::vector<ChatMessage>> parse_messages(const json& messages) {
  if (!messages.is_array() || messages.empty() || messages.size() > kMaxMessages) {
    return Error{ErrorCode::invalid_argument,
                 "messages is no list of 1 to " + std::to_string(kMaxMessages) + " messages",
                 "messages"};
  }
  std::vector<ChatMessage> parsed;
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string path = indexed("messages", i);
    if (!messages[i].is_object()) {
      return Error{ErrorCode::invalid_argument,
                   path + " is no object; accepted is {\"role\": ..., \"content\": ...}", path};
    }
    auto message = read_message(messages[i]);
    if (!message) return within(path, message.error());
    parsed.push_back(std::move(*message));
  }
  return parsed;
}

Result<ChatPrompt> parse_chat_prompt(Fields& fields, std::string_view body) {
  ChatPrompt prompt;
  bool continues = false;
  fields.boolean("continue_final_message", continues);
  prompt.options.add_generation_prompt = !continues;
  prompt.options.continue_final_message = continues;
  fields.boolean("add_generation_prompt", prompt.options.add_generation_prompt);
  const json* const messages = fields.find("messages");
  const json* const tools = fields.find("tools");
  const json* const variables = fields.find("chat_template_kwargs");
  if (fields.error()) return *fields.error();
  if (continues && prompt.options.add_generation_prompt) {
    return Error{ErrorCode::invalid_argument,
                 "continue_final_message and add_generation_prompt are both true; accepted is one",
                 "continue_final_message"};
  }
  if (messages == nullptr) return missing("messages", "a list of messages");
  auto parsed = parse_messages(*messages);
  if (!parsed) return parsed.error();
  prompt.messages = std::move(*parsed);
  if (auto done = read_tools(tools, body, prompt.options); !done) return done.error();
  if (auto done = read_template_variables(variables, body, prompt.options); !done)
    return done.error();
  return prompt;
}

}  // namespace tristill::openai
