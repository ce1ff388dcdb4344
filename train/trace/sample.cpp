#include "train/trace/sample.h"

#include <array>
#include <optional>
#include <utility>

#include "base/utf8.h"
#include "train/job/fields.h"

namespace tristill::trace {
namespace {

using nlohmann::json;

struct Message {
  std::string role;
  std::string content;
};

Error bad(const std::string& field, const std::string& accepted) {
  return {ErrorCode::invalid_argument, field + " is not accepted; give " + accepted, field};
}

const json* look(const json& object, const char* name) {
  const auto found = object.find(name);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\n\v\f\r";
  const size_t from = text.find_first_not_of(kSpace);
  if (from == std::string_view::npos) return {};
  return text.substr(from, text.find_last_not_of(kSpace) - from + 1);
}

Result<std::string> read_text(const json& value, const std::string& where) {
  if (!value.is_string()) return bad(where, "a string");
  return value.get<std::string>();
}

// A text, or a list of text parts, put together.
Result<std::string> read_content(const json& value, const std::string& where) {
  if (!value.is_array()) return read_text(value, where);
  std::string content;
  for (size_t i = 0; i < value.size(); ++i) {
    const json& part = value[i];
    const json* type = part.is_object() ? look(part, "type") : nullptr;
    const json* text = part.is_object() ? look(part, "text") : nullptr;
    if (type == nullptr || *type != "text" || text == nullptr || !text->is_string()) {
      return bad(where + "[" + std::to_string(i) + "]", "a part {\"type\": \"text\", \"text\"}");
    }
    content += text->get<std::string>();
  }
  return content;
}

Result<std::string> read_tool_calls(const json& calls, const std::string& where) {
  if (!calls.is_array()) return bad(where, "a list of tool calls");
  std::string text;
  for (size_t i = 0; i < calls.size(); ++i) {
    const std::string at = where + "[" + std::to_string(i) + "].function";
    const json* function = calls[i].is_object() ? look(calls[i], "function") : nullptr;
    const json* name = function && function->is_object() ? look(*function, "name") : nullptr;
    if (name == nullptr || !name->is_string()) return bad(at, "an object with a name");
    const json* given = look(*function, "arguments");
    const std::string arguments = given == nullptr     ? "{}"
                                  : given->is_string() ? given->get<std::string>()
                                                       : given->dump();
    if (!text.empty()) text += "\n";
    text += "<tool>" + name->get<std::string>() + "</tool>\n<params>" + arguments + "</params>";
  }
  return text;
}

std::optional<std::string> known_role(const json* role) {
  if (role == nullptr || !role->is_string()) return std::nullopt;
  const auto text = role->get<std::string>();
  if (text == "developer") return "system";
  for (const char* known : {"system", "user", "assistant", "tool"}) {
    if (text == known) return text;
  }
  return std::nullopt;
}

Result<Message> read_message(const json& value, const std::string& where) {
  if (!value.is_object()) return bad(where, "an object with role and content");
  const auto role = known_role(look(value, "role"));
  if (!role) return bad(where + ".role", "system, developer, user, assistant or tool");
  Message message{*role, {}};
  const json* calls = look(value, "tool_calls");
  if (const json* content = look(value, "content")) {
    auto text = read_content(*content, where + ".content");
    if (!text) return text.error();
    message.content = trimmed(*text);
  } else if (calls == nullptr) {
    return bad(where + ".content", "a string");
  }
  if (calls != nullptr) {
    auto text = read_tool_calls(*calls, where + ".tool_calls");
    if (!text) return text.error();
    if (!message.content.empty() && !text->empty()) message.content += "\n";
    message.content += *text;
  }
  if (message.role == "assistant" && message.content.empty()) {
    return bad(where + ".content", "an answer that is not empty");
  }
  return message;
}

Sample written(const std::vector<Message>& messages) {
  Sample sample;
  std::string given;
  for (const Message& message : messages) {
    if (message.role == "assistant") {
      sample.parts.push_back({given + "assistant:", false});
      sample.parts.push_back({" " + message.content, true});
      given = "\n\n";
    } else {
      given += message.role + ": " + message.content + "\n\n";
    }
  }
  return sample;
}

Result<std::vector<Sample>> read_chat(const json& value) {
  if (!value.is_array()) return bad("messages", "a list of messages");
  std::vector<Message> messages;
  bool answered = false;
  for (size_t i = 0; i < value.size(); ++i) {
    auto message = read_message(value[i], "messages[" + std::to_string(i) + "]");
    if (!message) return message.error();
    answered = answered || message->role == "assistant";
    messages.push_back(std::move(*message));
  }
  if (!answered) return bad("messages", "at least one message of the assistant, to learn from");
  return std::vector{written(messages)};
}

// The one of these fields that the line has; an empty name when it has none.
template <size_t n>
Result<std::pair<std::string, const json*>> one_of(const json& object,
                                                   const std::array<const char*, n>& names) {
  std::pair<std::string, const json*> found{"", nullptr};
  for (const char* name : names) {
    const json* value = look(object, name);
    if (value == nullptr) continue;
    if (found.second != nullptr) return bad(found.first + " beside " + name, "one of the two");
    found = {name, value};
  }
  return found;
}

constexpr std::array kQuestions = {"instruction", "prompt"};
constexpr std::array kAnswers = {"output", "response", "completion", "responses"};

Result<std::string> read_question(const json& object) {
  const auto asked = one_of(object, kQuestions);
  if (!asked) return asked.error();
  std::string question;
  if (asked->second != nullptr) {
    auto text = read_text(*asked->second, asked->first);
    if (!text) return text;
    question = trimmed(*text);
  }
  if (const json* input = look(object, "input")) {
    auto text = read_text(*input, "input");
    if (!text) return text;
    const auto paragraph = trimmed(*text);
    if (!question.empty() && !paragraph.empty()) question += "\n\n";
    question += paragraph;
  }
  if (question.empty()) return bad("instruction, prompt or input", "a text that is not empty");
  return question;
}

Result<Sample> read_answer(const json& object, const std::string& question, const json& answer,
                           const std::string& where) {
  auto text = read_text(answer, where);
  if (!text) return text.error();
  std::string content(trimmed(*text));
  if (content.empty()) return bad(where, "an answer that is not empty");
  if (const json* value = look(object, "thinking")) {
    const auto thinking = read_text(*value, "thinking");
    if (!thinking) return thinking.error();
    if (!trimmed(*thinking).empty()) {
      content = "<thinking>\n" + std::string(trimmed(*thinking)) + "\n</thinking>\n\n" + content;
    }
  }
  return written({{"user", question}, {"assistant", std::move(content)}});
}

Result<std::vector<Sample>> read_instruction(const json& object, const std::string& field,
                                             const json& answer) {
  auto question = read_question(object);
  if (!question) return question.error();
  std::vector<std::pair<std::string, const json*>> answers;
  if (field != "responses") {
    answers = {{field, &answer}};
  } else {
    if (!answer.is_object() || answer.empty()) return bad(field, "an object of teachers' answers");
    for (const auto& [teacher, text] : answer.items()) {
      answers.emplace_back("an answer of responses", &text);
    }
  }
  std::vector<Sample> samples;
  for (const auto& [where, text] : answers) {
    auto sample = read_answer(object, *question, *text, where);
    if (!sample) return sample.error();
    samples.push_back(std::move(*sample));
  }
  return samples;
}

}  // namespace

Result<std::vector<Sample>> parse_samples(std::string_view line) {
  if (line.size() > kMaxSampleBytes) return bad("the line", "at most 4 MiB a line");
  if (!utf8_is_valid(line)) return bad("the line", "UTF-8");
  const auto object = job::parse_json_object(line);
  if (!object) return object.error();
  if (const json* messages = look(*object, "messages")) return read_chat(*messages);
  const auto answer = one_of(*object, kAnswers);
  if (!answer) return answer.error();
  if (answer->second != nullptr) return read_instruction(*object, answer->first, *answer->second);
  const json* text = look(*object, "text");
  if (text == nullptr) {
    return bad("the line",
               "messages, or an instruction or prompt with its output, response or completion, "
               "or text");
  }
  auto whole = read_text(*text, "text");
  if (!whole) return whole.error();
  if (trimmed(*whole).empty()) return bad("text", "a text that is not empty");
  return std::vector{Sample{{{std::move(*whole), true}}}};
}

}  // namespace tristill::trace
