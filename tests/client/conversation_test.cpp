#include "client/conversation.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "client/failure.h"

namespace tristill::client {
namespace {

// All messages of lines typed one after another.
std::vector<std::string> messages_of(const std::vector<std::string>& lines) {
  std::vector<std::string> messages;
  MessageReader reader;
  for (const std::string& line : lines) {
    if (reader.take(line)) messages.push_back(reader.message());
  }
  if (reader.open()) messages.push_back("(open)");
  return messages;
}

using Lines = std::vector<std::string>;

TEST(MessageReader, ALineIsAMessage) {
  EXPECT_EQ(messages_of({"one", "", "two"}), (Lines{"one", "", "two"}));
}

TEST(MessageReader, ABackslashJoinsLines) {
  EXPECT_EQ(messages_of({"one\\", "two\\", "three", "four"}), (Lines{"one\ntwo\nthree", "four"}));
  EXPECT_EQ(messages_of({"one\\"}), Lines{"(open)"});
}

TEST(MessageReader, ThreeQuotesEncloseABlock) {
  EXPECT_EQ(messages_of({"\"\"\"", "a\\", "", "  b", "\"\"\"", "c"}), (Lines{"a\\\n\n  b", "c"}));
  EXPECT_EQ(messages_of({"\"\"\"a", "b\"\"\""}), Lines{"a\nb"});
  EXPECT_EQ(messages_of({"\"\"\"a\"\"\""}), Lines{"a"});
  EXPECT_EQ(messages_of({"\"\"\"", "a"}), Lines{"(open)"});
}

TEST(MessageReader, ForgetsWhatWasBegun) {
  MessageReader reader;
  EXPECT_FALSE(reader.take("\"\"\"a"));
  reader.clear();
  EXPECT_FALSE(reader.open());
  EXPECT_TRUE(reader.take("b"));
  EXPECT_EQ(reader.message(), "b");
}

TEST(Conversation, TheInstructionStaysFirst) {
  Conversation conversation;
  conversation.say("user", "hello");
  conversation.set_system("be brief");
  conversation.set_system("be very brief");
  EXPECT_EQ(conversation.messages().dump(),
            R"([{"content":"be very brief","role":"system"},{"content":"hello","role":"user"}])");
  conversation.reset();
  EXPECT_EQ(conversation.turns().size(), 1U);
  EXPECT_EQ(conversation.system(), "be very brief");
  conversation.set_system("");
  EXPECT_TRUE(conversation.turns().empty());
}

class ConversationFile : public testing::Test {
 protected:
  ~ConversationFile() override { std::filesystem::remove(path_); }
  const std::string path_ = (std::filesystem::temp_directory_path() /
                             ("tristill_conversation_" + std::to_string(getpid())))
                                .string();
};

TEST_F(ConversationFile, ComesBackAsItWas) {
  Conversation conversation;
  conversation.set_system("é");
  conversation.say("user", "a\nb\x1b");
  conversation.say("assistant", "");
  save_conversation(conversation, path_);
  EXPECT_EQ(load_conversation(path_).messages(), conversation.messages());
}

TEST_F(ConversationFile, RefusesWhatIsNone) {
  EXPECT_THROW(load_conversation(path_), Failure);
  for (const char* text : {"", "[]", "{}", R"({"messages": [1]})",
                           R"({"messages": [{"role": "tool", "content": ""}]})",
                           R"({"messages": [{"role": "user", "content": 1}]})"}) {
    std::ofstream(path_) << text;
    EXPECT_THROW(load_conversation(path_), Failure) << text;
  }
}

}  // namespace
}  // namespace tristill::client
