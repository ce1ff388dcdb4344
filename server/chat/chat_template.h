// ChatTemplate: a conversation -> the text of a prompt, by a Jinja template that the model's file
// carries, or one of ours. Immutable: any thread. Not the tokens (server/chat/encode.h).
#pragma once

#include <chrono>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/tokenizer/tokenizer.h"
#include "server/chat/conversation.h"
#include "server/jinja/template.h"

namespace tristill::chat {

// A part of a prompt. Control tokens come from what the template itself says, never from a message.
struct ChatSegment {
  std::string text;  // not empty
  bool is_template = false;
};

struct RenderOptions {
  bool add_generation_prompt = true;  // end where the assistant's answer begins
  // End inside the last message, so that the model goes on with it; without a generation prompt.
  bool continue_final_message = false;
  jinja::Value tools = jinja::None{};  // a list as OpenAI's "tools"
  jinja::Variables variables = {};  // more of the template's own: enable_thinking
  std::chrono::system_clock::time_point now = std::chrono::system_clock::now();
};

class ChatTemplate {
 public:
  // bos, eos: how the model's tokens are spelled; empty: it has none. name: what the API calls it.
  // Errors: invalid_argument, param "chat_template", "line N: what is wrong".
  static Result<std::shared_ptr<const ChatTemplate>> parse(std::string_view source,
                                                           std::string_view bos,
                                                           std::string_view eos,
                                                           std::string_view name = "model");

  // Ours; kBuiltins names them. Null when there is none of that name.
  //   chatml  <|im_start|>role, a line end, the message, <|im_end|>
  //   plain   paragraphs "role: message"; for models that were trained on no template
  static std::shared_ptr<const ChatTemplate> builtin(std::string_view name, std::string_view bos,
                                                     std::string_view eos);

  // "model", the name of one of ours, or what parse was given.
  const std::string& name() const { return name_; }
  // Texts that end the assistant's turn besides the tokens of turn_ends (server/chat/encode.h).
  // Templates of models have none.
  const std::vector<std::string>& stops() const { return stops_; }

  // A message of the developer is one of the system where the template does not know developers.
  // Neighbouring segments differ in is_template. Errors: invalid_argument, param "messages": what
  // the template refuses by raise_exception, or where and how it fails.
  Result<std::vector<ChatSegment>> render(std::span<const ChatMessage> messages,
                                          const RenderOptions& options = {}) const;

 private:
  ChatTemplate() = default;
  Result<jinja::Text> render_text(std::span<const ChatMessage> messages,
                                  const RenderOptions& options) const;

  std::string name_;
  std::vector<std::string> stops_;
  std::shared_ptr<const jinja::Template> template_;
  std::string bos_, eos_;
  bool knows_developers_ = false;
};

constexpr std::string_view kBuiltins[] = {"chatml", "plain"};

// The text of all segments.
std::string text_of(std::span<const ChatSegment> segments);

// Where the templates of models come from: the setting chat_template.
struct TemplateChoice {
  std::string name;  // empty: each model's own, plain for models without
  std::string source;  // empty: the builtin called name
};

// setting: empty, the name of one of ours, or a file. Errors: a file that cannot be read or parsed,
// param "chat_template".
Result<TemplateChoice> read_template_choice(const std::string& setting);

// The template of a model: the chosen one, its own, or plain. Errors: as parse.
Result<std::shared_ptr<const ChatTemplate>> template_for(std::string_view own_source,
                                                         const Tokenizer& tokenizer,
                                                         const TemplateChoice& choice = {});

}  // namespace tristill::chat
