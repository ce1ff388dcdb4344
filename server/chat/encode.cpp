#include "server/chat/encode.h"

#include <algorithm>

namespace tristill::chat {

std::vector<TokenId> encode_chat(const Tokenizer& tokenizer,
                                 std::span<const ChatSegment> segments) {
  std::vector<TokenId> ids;
  std::string text;  // since the last control token
  const auto flush = [&] {
    const auto found = tokenizer.encode(text);
    ids.insert(ids.end(), found.begin(), found.end());
    text.clear();
  };
  const ControlPieces& pieces = tokenizer.control_pieces();
  for (const ChatSegment& segment : segments) {
    std::string_view rest = segment.text;
    if (!segment.is_template) {
      text += rest;
      continue;
    }
    while (!rest.empty()) {
      if (const auto match = pieces.longest_at(rest)) {
        flush();
        ids.push_back(match->id);
        rest.remove_prefix(match->length);
      } else {
        text += rest.front();
        rest.remove_prefix(1);
      }
    }
  }
  flush();
  return ids;
}

std::vector<TokenId> turn_ends(const ChatTemplate& chat_template, const Tokenizer& tokenizer) {
  std::vector<TokenId> ends;
  if (tokenizer.special().eos != kNoToken) ends.push_back(tokenizer.special().eos);
  // A word that no template says by itself, so that it is found again.
  const std::string answer = "tristill-answer";
  const ChatMessage messages[] = {{.role = Role::user, .content = "question"},
                                  {.role = Role::assistant, .content = answer}};
  const auto segments = chat_template.render(messages, {.add_generation_prompt = false});
  if (!segments) return ends;
  bool is_behind = false;
  for (const ChatSegment& segment : *segments) {
    if (!segment.is_template) {
      is_behind = segment.text.find(answer) != std::string::npos;
      continue;
    }
    if (!is_behind) continue;
    for (TokenId id : encode_chat(tokenizer, std::span(&segment, 1))) {
      const bool is_control = tokenizer.bytes_of(id).empty();
      if (!is_control) continue;
      if (std::find(ends.begin(), ends.end(), id) == ends.end()) ends.push_back(id);
      return ends;
    }
  }
  return ends;
}

}  // namespace tristill::chat
