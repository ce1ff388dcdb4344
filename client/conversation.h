// The turns of a chat: what is sent to the model, and kept in a file. Plain data and pure
// functions but for the two that read and write; one thread.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace tristill::client {

struct Turn {
  std::string role;  // system, user or assistant
  std::string content;
};

class Conversation {
 public:
  const std::vector<Turn>& turns() const { return turns_; }
  void say(std::string role, std::string content);
  // Takes the last turn back.
  void take_back();
  // The instruction before all turns; empty removes it. The turns stay.
  void set_system(const std::string& text);
  std::string system() const;
  // Forgets the turns, keeps the instruction.
  void reset();

  // [{"role", "content"}, ...] as /v1/chat/completions takes it.
  nlohmann::json messages() const;

 private:
  std::vector<Turn> turns_;
};

// {"messages": [...]}; the file appears whole or not at all. Failure: it cannot be written.
void save_conversation(const Conversation& conversation, const std::string& path);
// Failure: the file is missing, or holds something else.
Conversation load_conversation(const std::string& path);

// One line of the chat as the user typed it, so that a message may have several.
class MessageReader {
 public:
  // Takes a line; true when message() is complete. A line that ends with a backslash goes on in
  // the next; three quotes open and close a block of lines.
  bool take(std::string_view line);
  bool open() const { return open_; }
  const std::string& message() const { return message_; }
  void clear();

 private:
  std::string message_;
  bool open_ = false;
  bool block_ = false;
};

}  // namespace tristill::client
