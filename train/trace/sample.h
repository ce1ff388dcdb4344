// One line of a JSON Lines corpus -> what a student reads and what of it it learns. Pure.
//
//   chat         {"messages": [{"role", "content"}, ...]}       learned: what the assistant says
//   instruction  {"instruction" or "prompt", "input", "output" or "response" or "completion"}
//                is a chat of one turn, "input" a paragraph of the user's; "input" may stand alone
//                with "thinking", the answer begins with it between <thinking> and </thinking>
//                with "responses" {teacher: text}, one sample an answer, in order of the names
//   text         {"text"}                                       learned whole
//
// The first of these that a line has is what it is; other fields are ignored. Roles are system (or
// developer), user, assistant and tool. Contents are texts, or lists of parts {"type": "text",
// "text"}; a tool call becomes "<tool>name</tool>\n<params>arguments</params>".
//
// A chat reads as the daemon's own template "plain" puts it (server/chat/chat_template.h), so that
// a student without a template is asked in the words it was trained on:
//   role: content \n\n role: content \n\n assistant: content <end of document>
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace tristill::trace {

constexpr size_t kMaxSampleBytes = size_t{4} << 20;  // of a line

struct SamplePart {
  std::string text;  // not empty
  bool learned = false;
};

// A text is one learned part. A chat alternates, and ends with a learned part: what follows the
// last answer is dropped.
struct Sample {
  std::vector<SamplePart> parts;
};

// Never empty. Errors: invalid_argument, saying what is wrong with which field of the line and
// what is accepted. Length and depth are capped before parsing.
Result<std::vector<Sample>> parse_samples(std::string_view line);

}  // namespace tristill::trace
