// Lines of JSON Lines corpora: what is read, and what of it is learned.
#include "train/trace/sample.h"

#include <gtest/gtest.h>

namespace tristill::trace {
namespace {

// Learned parts in braces.
std::string shown(const Sample& sample) {
  std::string out;
  for (const SamplePart& part : sample.parts) {
    out += part.learned ? "{" + part.text + "}" : part.text;
  }
  return out;
}

std::string only(std::string_view line) {
  const auto samples = parse_samples(line);
  EXPECT_TRUE(samples) << line << ": " << (samples ? "" : samples.error().message);
  if (!samples) return "";
  EXPECT_EQ(samples->size(), 1U);
  return shown(samples->front());
}

TEST(Sample, ATextIsLearnedWhole) { EXPECT_EQ(only(R"({"text": " a\n", "source": 5})"), "{ a\n}"); }

TEST(Sample, OfAChatTheAssistantsWordsAreLearned) {
  EXPECT_EQ(only(R"({"messages": [{"role": "system", "content": "S"},
                                  {"role": "user", "content": " Q1 "},
                                  {"role": "assistant", "content": "A1"},
                                  {"role": "user", "content": "Q2"},
                                  {"role": "assistant", "content": "A2"},
                                  {"role": "user", "content": "never answered"}]})"),
            "system: S\n\nuser: Q1\n\nassistant:{ A1}\n\nuser: Q2\n\nassistant:{ A2}");
}

TEST(Sample, ContentsMayBePartsAndAnswersMayCallTools) {
  EXPECT_EQ(only(R"({"messages": [
      {"role": "developer", "content": [{"type": "text", "text": "a"},
                                       {"type": "text", "text": "b"}]},
      {"role": "assistant", "content": null, "tool_calls": [
          {"id": "1", "type": "function", "function": {"name": "ls", "arguments": "{\"p\":1}"}},
          {"function": {"name": "cd", "arguments": {"d": 2}}}]},
      {"role": "tool", "content": "ok"},
      {"role": "assistant", "content": "done"}]})"),
            "system: ab\n\nassistant:{ <tool>ls</tool>\n<params>{\"p\":1}</params>\n"
            "<tool>cd</tool>\n<params>{\"d\":2}</params>}\n\ntool: ok\n\nassistant:{ done}");
}

TEST(Sample, AnInstructionIsAChatOfOneTurnUnderAnyOfItsNames) {
  const std::string expected = "user: Q\n\nassistant:{ A}";
  EXPECT_EQ(only(R"({"instruction": "Q", "output": "A"})"), expected);
  EXPECT_EQ(only(R"({"prompt": "Q", "response": "A", "teacher": "t"})"), expected);
  EXPECT_EQ(only(R"({"prompt": "Q", "response": "A", "type": "cognitive_kernel"})"), expected);
  EXPECT_EQ(only(R"({"prompt": "Q", "completion": "A", "text": "whole"})"), expected);
  EXPECT_EQ(only(R"({"input": "Q", "output": "A"})"), expected);
  EXPECT_EQ(only(R"({"instruction": "Q", "input": "", "output": "A"})"), expected);
  EXPECT_EQ(only(R"({"instruction": "Q", "input": "I", "output": "A"})"),
            "user: Q\n\nI\n\nassistant:{ A}");
  EXPECT_EQ(only(R"({"prompt": "Q", "thinking": "T", "response": "A"})"),
            "user: Q\n\nassistant:{ <thinking>\nT\n</thinking>\n\nA}");
}

TEST(Sample, SeveralTeachersGiveASampleEach) {
  const auto samples = parse_samples(R"({"prompt": "Q", "responses": {"z": "A2", "b": "A1"}})");
  ASSERT_TRUE(samples) << samples.error().message;
  ASSERT_EQ(samples->size(), 2U);
  EXPECT_EQ(shown(samples->at(0)), "user: Q\n\nassistant:{ A1}");
  EXPECT_EQ(shown(samples->at(1)), "user: Q\n\nassistant:{ A2}");
}

TEST(Sample, RefusalsNameTheField) {
  const struct {
    const char* line;
    const char* param;
  } bad[] = {{R"({"prompt": "Q"})", "the line"},
             {R"({"text": 5})", "text"},
             {R"({"text": " \n"})", "text"},
             {R"({"output": "A"})", "instruction, prompt or input"},
             {R"({"prompt": "", "output": "A"})", "instruction, prompt or input"},
             {R"({"prompt": ["Q"], "output": "A"})", "prompt"},
             {R"({"prompt": "Q", "output": " "})", "output"},
             {R"({"prompt": "Q", "output": "A", "response": "B"})", "output beside response"},
             {R"({"prompt": "Q", "instruction": "P", "output": "A"})", "instruction beside prompt"},
             {R"({"prompt": "Q", "responses": {}})", "responses"},
             {R"({"prompt": "Q", "responses": {"t": 1}})", "an answer of responses"},
             {R"({"messages": "hi"})", "messages"},
             {R"({"messages": []})", "messages"},
             {R"({"messages": [{"role": "user", "content": "Q"}]})", "messages"},
             {R"({"messages": [7]})", "messages[0]"},
             {R"({"messages": [{"role": "bot", "content": "Q"}]})", "messages[0].role"},
             {R"({"messages": [{"role": "user"}]})", "messages[0].content"},
             {R"({"messages": [{"role": "assistant", "content": " "}]})", "messages[0].content"},
             {R"({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]})",
              "messages[0].content[0]"},
             {R"({"messages": [{"role": "assistant", "tool_calls": [{}]}]})",
              "messages[0].tool_calls[0].function"}};
  for (const auto& [line, param] : bad) {
    const auto samples = parse_samples(line);
    ASSERT_FALSE(samples) << line;
    EXPECT_EQ(samples.error().code, ErrorCode::invalid_argument);
    EXPECT_EQ(samples.error().param, param) << line;
    EXPECT_NE(samples.error().message.find("give "), std::string::npos) << line;
  }
}

TEST(Sample, HostileLinesAreRefused) {
  EXPECT_FALSE(parse_samples(""));
  EXPECT_FALSE(parse_samples("[]"));
  EXPECT_FALSE(parse_samples(R"({"text": "a")"));
  EXPECT_NE(parse_samples("{\"text\": \"\xff\"}").error().message.find("UTF-8"), std::string::npos);
  EXPECT_NE(parse_samples("{\"a\":" + std::string(100000, '[')).error().message.find("16 levels"),
            std::string::npos);
  const std::string frame = R"({"text": ""})";
  const std::string most(kMaxSampleBytes - frame.size(), 'a');
  EXPECT_TRUE(parse_samples(R"({"text": ")" + most + "\"}"));
  EXPECT_NE(parse_samples(R"({"text": "a)" + most + "\"}").error().message.find("4 MiB"),
            std::string::npos);
}

}  // namespace
}  // namespace tristill::trace
