#include "server/chat/chat_template.h"

#include <algorithm>
#include <filesystem>

#include "base/atomic_file.h"
#include "base/check.h"

namespace tristill::chat {
namespace {

using jinja::Origin;
using jinja::Text;
using jinja::Value;

struct Builtin {
  std::string_view name;
  std::string_view source;
  std::vector<std::string> stops;
};

const std::vector<Builtin>& builtins() {
  static const std::vector<Builtin> all = {
      {"chatml",
       "{% for message in messages %}"
       "{{ '<|im_start|>' ~ message.role ~ '\\n' ~ (message.content or '') ~ '<|im_end|>\\n' }}"
       "{% endfor %}"
       "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
       {"<|im_end|>"}},
      {"plain",
       "{% for message in messages %}"
       "{{ message.role ~ ': ' ~ (message.content or '') | trim }}"
       "{{ '\\n\\n' if not loop.last or add_generation_prompt }}"
       "{% endfor %}"
       "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}",
       {"\nsystem:", "\ndeveloper:", "\nuser:", "\nassistant:", "\ntool:"}},
  };
  return all;
}

Value written(std::string_view text) { return jinja::make_text(text, Origin::written); }
Value sent(std::string_view text) { return jinja::make_text(text, Origin::data); }

using Entries = std::vector<std::pair<Value, Value>>;

Value call_value(const ToolCall& call) {
  Value function = jinja::make_dict(
      {{written("name"), sent(call.name)}, {written("arguments"), call.arguments}});
  return jinja::make_dict({{written("id"), sent(call.id)},
                           {written("type"), written("function")},
                           {written("function"), std::move(function)}});
}

// A role is one of our own words, so templates may make control tokens of it: <|user|>.
Value message_value(const ChatMessage& message, bool knows_developers) {
  const bool is_renamed = message.role == Role::developer && !knows_developers;
  const Role role = is_renamed ? Role::system : message.role;
  Entries entries = {
      {written("role"), written(to_string(role))},
      {written("content"), message.content ? sent(*message.content) : jinja::None{}}};
  if (!message.name.empty()) entries.emplace_back(written("name"), sent(message.name));
  if (!message.tool_call_id.empty())
    entries.emplace_back(written("tool_call_id"), sent(message.tool_call_id));
  if (!message.tool_calls.empty()) {
    std::vector<Value> calls;
    for (const ToolCall& call : message.tool_calls) calls.push_back(call_value(call));
    entries.emplace_back(written("tool_calls"), jinja::make_list(std::move(calls)));
  }
  return jinja::make_dict(std::move(entries));
}

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r\n") + 1 - begin);
}

// Without what stands behind the last message's content.
Result<Text> cut_behind(const Text& text, const ChatMessage& last) {
  const auto content = last.content ? trimmed(*last.content) : std::string_view();
  const size_t found = text.bytes().rfind(content);
  if (content.empty() || found == std::string::npos) {
    return Error{ErrorCode::invalid_argument,
                 "continue_final_message needs a last message whose content the chat template "
                 "writes as it is",
                 "continue_final_message"};
  }
  return text.slice(0, found + content.size());
}

std::vector<ChatSegment> segments_of(const Text& text) {
  std::vector<ChatSegment> segments;
  size_t begin = 0;
  for (const Text::Run& run : text.runs()) {
    segments.push_back(
        {text.bytes().substr(begin, run.end - begin), run.origin == Origin::written});
    begin = run.end;
  }
  return segments;
}

}  // namespace

Result<std::shared_ptr<const ChatTemplate>> ChatTemplate::parse(std::string_view source,
                                                                std::string_view bos,
                                                                std::string_view eos,
                                                                std::string_view name) {
  auto parsed = jinja::Template::parse(source);
  if (!parsed) {
    return Error{parsed.error().code, "the chat template: " + parsed.error().message,
                 "chat_template"};
  }
  auto made = std::shared_ptr<ChatTemplate>(new ChatTemplate);
  made->name_ = name;
  made->template_ = std::move(*parsed);
  made->bos_ = bos;
  made->eos_ = eos;
  made->knows_developers_ = source.find("developer") != std::string_view::npos;
  return std::shared_ptr<const ChatTemplate>(std::move(made));
}

std::shared_ptr<const ChatTemplate> ChatTemplate::builtin(std::string_view name,
                                                          std::string_view bos,
                                                          std::string_view eos) {
  for (const Builtin& one : builtins()) {
    if (one.name != name) continue;
    auto made = parse(one.source, bos, eos, name);
    CHECK(made);
    auto copy = std::shared_ptr<ChatTemplate>(new ChatTemplate(**made));
    copy->stops_ = one.stops;
    return copy;
  }
  return nullptr;
}

Result<Text> ChatTemplate::render_text(std::span<const ChatMessage> messages,
                                       const RenderOptions& options) const {
  jinja::Variables variables = options.variables;
  std::vector<Value> list;
  for (const ChatMessage& message : messages)
    list.push_back(message_value(message, knows_developers_));
  variables["messages"] = jinja::make_list(std::move(list));
  variables["add_generation_prompt"] =
      options.add_generation_prompt && !options.continue_final_message;
  variables["tools"] = options.tools;
  variables["documents"] = jinja::None{};
  if (!bos_.empty()) variables["bos_token"] = written(bos_);
  if (!eos_.empty()) variables["eos_token"] = written(eos_);
  auto text = template_->render(variables, options.now);
  if (!text) {
    return Error{text.error().code, "the chat template \"" + name_ + "\": " + text.error().message,
                 "messages"};
  }
  return text;
}

Result<std::vector<ChatSegment>> ChatTemplate::render(std::span<const ChatMessage> messages,
                                                      const RenderOptions& options) const {
  auto text = render_text(messages, options);
  if (text && options.continue_final_message) {
    CHECK(!messages.empty());
    text = cut_behind(*text, messages.back());
  }
  if (!text) return text.error();
  return segments_of(*text);
}

std::string text_of(std::span<const ChatSegment> segments) {
  std::string text;
  for (const ChatSegment& segment : segments) text += segment.text;
  return text;
}

Result<TemplateChoice> read_template_choice(const std::string& setting) {
  if (setting.empty()) return TemplateChoice{};
  if (std::find(std::begin(kBuiltins), std::end(kBuiltins), setting) != std::end(kBuiltins))
    return TemplateChoice{setting, ""};
  const auto source = read_file(setting, jinja::kMaxTemplateBytes);
  if (!source) {
    return Error{source.error().code,
                 "chat_template \"" + setting + "\": " + source.error().message +
                     "; accepted are chatml, plain and a file",
                 "chat_template"};
  }
  if (const auto parsed = ChatTemplate::parse(*source, "", ""); !parsed) return parsed.error();
  return TemplateChoice{std::filesystem::path(setting).stem().string(), *source};
}

Result<std::shared_ptr<const ChatTemplate>> template_for(std::string_view own_source,
                                                         const Tokenizer& tokenizer,
                                                         const TemplateChoice& choice) {
  const std::string_view bos = tokenizer.piece_of(tokenizer.special().bos);
  const std::string_view eos = tokenizer.piece_of(tokenizer.special().eos);
  if (!choice.source.empty()) return ChatTemplate::parse(choice.source, bos, eos, choice.name);
  if (choice.name.empty() && !own_source.empty()) return ChatTemplate::parse(own_source, bos, eos);
  auto made = ChatTemplate::builtin(choice.name.empty() ? "plain" : choice.name, bos, eos);
  CHECK(made != nullptr);
  return made;
}

}  // namespace tristill::chat
