// tristill chat: turns of a conversation to /v1/chat/completions, typed at a terminal or one at a
// time from a script.
#include <unistd.h>

#include <array>

#include "client/answer_stream.h"
#include "client/commands.h"
#include "client/conversation.h"
#include "client/fields.h"
#include "client/interrupt.h"
#include "client/line_editor.h"
#include "client/sampling.h"

namespace tristill::client {
namespace {

struct ChatOptions {
  std::string message, file, system, load, save;
  SamplingFlags sampling;
  bool no_stream = false;
};

std::string delta_text(const Json& chunk) {
  std::string text;
  for (const Json& choice : list_of(chunk, "choices")) {
    text += text_of(field_of(choice, "delta"), "content");
  }
  return text;
}

std::string message_text(const Json& completion) {
  const Json& choices = list_of(completion, "choices");
  return choices.empty() ? "" : text_of(field_of(choices.front(), "message"), "content");
}

Json request_of(const Session& session, const ChatOptions& options,
                const Conversation& conversation, bool stream) {
  Json request = {{"messages", conversation.messages()}};
  write_model(session, request);
  write_sampling(options.sampling, FieldNames::openai, request);
  if (stream) request["stream"] = true;
  return request;
}

Conversation conversation_of(const ChatOptions& options) {
  Conversation conversation;
  if (!options.load.empty()) conversation = load_conversation(options.load);
  require_utf8(options.system, "system");
  if (!options.system.empty()) conversation.set_system(options.system);
  return conversation;
}

Answer answer_turn(Session& session, const ChatOptions& options, const Conversation& conversation) {
  const AnswerRoute route{.path = "/v1/chat/completions", .text = delta_text, .last = {}};
  return print_answer(session, route, request_of(session, options, conversation, true));
}

// One message, one answer.
ExitCode chat_once(Session& session, const ChatOptions& options) {
  Conversation conversation = conversation_of(options);
  conversation.say("user", read_text(options.message, options.file, "message"));
  std::string text;
  if (options.no_stream || session.out.json()) {
    const Json answer =
        session.api.post("/v1/chat/completions", request_of(session, options, conversation, false));
    text = message_text(answer);
    if (session.out.json()) {
      session.out.object(answer);
    } else {
      session.out.model_text(text);
      if (session.out.terminal() && !text.ends_with('\n')) session.out.text("\n");
    }
  } else {
    const Answer answer = answer_turn(session, options, conversation);
    if (!answer.whole) die_of_interrupt();
    text = answer.text;
  }
  conversation.say("assistant", text);
  if (!options.save.empty()) save_conversation(conversation, options.save);
  return kExitOk;
}

constexpr const char* kHelp =
    "/reset        forget the turns, keep the instruction\n"
    "/system TEXT  set the instruction before all turns; without TEXT show it\n"
    "/show         show the turns\n"
    "/save FILE    write the conversation\n"
    "/load FILE    go on with a written conversation\n"
    "/quit         leave, as Ctrl-D does\n"
    "A line that ends with \\ goes on in the next; \"\"\" opens and closes a block of lines.\n"
    "// at the start of a message sends one slash. Ctrl-C stops the answer.\n";

class Chat {
 public:
  Chat(Session& session, const ChatOptions& options)
      : session_(session), options_(options), conversation_(conversation_of(options)) {}

  ExitCode run() {
    const auto folder = xdg_folder(process_environment, "XDG_STATE_HOME", ".local/state");
    LineHistory history(folder.empty() ? folder : folder / "history");
    LineEditor editor(history);
    session_.out.text("/help lists the commands; Ctrl-D leaves\n");
    while (read_message(editor)) {
      try {
        if (!take(reader_.message())) break;
      } catch (const Failure& failure) {
        std::fprintf(stderr, "tristill: %s\n", printable(failure.message).c_str());
      }
      forget_interrupt();
    }
    if (!options_.save.empty()) save_conversation(conversation_, options_.save);
    return kExitOk;
  }

 private:
  // False at the end.
  bool read_message(LineEditor& editor) {
    reader_.clear();
    while (true) {
      switch (editor.read(reader_.open() ? "... " : "> ")) {
        case LineEditor::Got::end: return false;
        case LineEditor::Got::cancelled: reader_.clear(); break;
        case LineEditor::Got::line:
          if (reader_.take(editor.text())) return true;
      }
    }
  }

  // False when the user wants to leave.
  bool take(const std::string& message) {
    if (message.find_first_not_of(" \t\n") == std::string::npos) return true;
    if (message.starts_with("//")) return answer(message.substr(1)), true;
    if (!message.starts_with('/')) return answer(message), true;
    const size_t space = message.find_first_of(" \n");
    const std::string name = message.substr(0, space);
    const size_t begin = message.find_first_not_of(" \n", std::min(space, message.size()));
    const std::string rest = begin == std::string::npos ? "" : message.substr(begin);
    if (name == "/quit" || name == "/exit") return false;
    command(name, rest);
    return true;
  }

  void command(const std::string& name, const std::string& rest) {
    Output& out = session_.out;
    if (name == "/help") {
      out.text(kHelp);
    } else if (name == "/reset") {
      conversation_.reset();
      out.text("the conversation starts again\n");
    } else if (name == "/system") {
      set_system(rest);
    } else if (name == "/show") {
      for (const Turn& turn : conversation_.turns()) {
        out.text(turn.role + ": " + printable(turn.content) + "\n");
      }
    } else if (name == "/save" || name == "/load") {
      if (rest.empty()) throw Failure(kExitUsage, name + " needs the name of a file");
      if (name == "/save") {
        save_conversation(conversation_, rest);
      } else {
        conversation_ = load_conversation(rest);
      }
      out.text(std::to_string(conversation_.turns().size()) + " turns in " + printable(rest) +
               "\n");
    } else {
      throw Failure(kExitUsage, "no command " + name + "; /help lists them");
    }
  }

  void set_system(const std::string& text) {
    require_utf8(text, "instruction");
    if (!text.empty()) conversation_.set_system(text);
    const std::string now = conversation_.system();
    session_.out.text(now.empty() ? "no instruction\n" : "instruction: " + printable(now) + "\n");
  }

  // A turn without an answer is taken back, so that it can be sent again.
  void answer(const std::string& message) {
    require_utf8(message, "message");
    conversation_.say("user", message);
    Answer answer;
    try {
      answer = answer_turn(session_, options_, conversation_);
    } catch (const Failure&) {
      conversation_.take_back();
      throw;
    }
    if (!answer.whole) session_.out.text("(stopped)\n");
    if (answer.text.empty()) {
      conversation_.take_back();
    } else {
      conversation_.say("assistant", answer.text);
    }
  }

  Session& session_;
  const ChatOptions& options_;
  Conversation conversation_;
  MessageReader reader_;
};

ExitCode chat(Session& session, const ChatOptions& options) {
  const bool terminal = isatty(STDIN_FILENO) == 1 && session.out.terminal();
  const bool asked = !options.message.empty() || !options.file.empty();
  if (asked || !terminal || session.out.json()) return chat_once(session, options);
  return Chat(session, options).run();
}

}  // namespace

void add_chat_command(CLI::App& app, Plan& plan) {
  auto options = std::make_shared<ChatOptions>();
  CLI::App* command =
      app.add_subcommand("chat", "Talk with a model; at a terminal turn by turn, /help helps");
  command->add_option("message", options->message,
                      "One message to answer; - reads standard input, as does no message where "
                      "that is no terminal");
  command->add_option("--file", options->file, "Read the message from a file")->type_name("PATH");
  command->add_option("--system", options->system, "Instruction before all turns");
  command->add_option("--load", options->load, "Go on with a saved conversation")
      ->type_name("PATH");
  command->add_option("--save", options->save, "Write the conversation when it ends")
      ->type_name("PATH");
  add_model_flag(*command, plan);
  add_sampling_flags(*command, options->sampling, 1024);
  command->add_flag("--no-stream", options->no_stream, "Print an answer when whole");
  command->callback([options, &plan] {
    plan.action = [options](Session& session) { return chat(session, *options); };
  });
}

}  // namespace tristill::client
