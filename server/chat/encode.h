// A rendered conversation -> token ids. Any thread.
#pragma once

#include <span>
#include <vector>

#include "model/tokenizer/tokenizer.h"
#include "server/chat/chat_template.h"

namespace tristill::chat {

// In what the template itself says, the spelling of a control token becomes its id, the longest
// first; all text between two of those is encoded at once, as Tokenizer::encode does with text:
// what a message says is never a control token. Adds none of its own, no BOS either.
std::vector<TokenId> encode_chat(const Tokenizer& tokenizer, std::span<const ChatSegment> segments);

// Control tokens that end the assistant's turn: the one that the template writes first behind an
// answer, and the end of the document if the model has one. In no order, none twice.
std::vector<TokenId> turn_ends(const ChatTemplate& chat_template, const Tokenizer& tokenizer);

}  // namespace tristill::chat
