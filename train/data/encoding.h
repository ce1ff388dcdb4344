// Documents -> tokens, with what is to be learned at each.
//   text  <eos> text <eos>                       a document starts after the end of another
//   chat  given learned [given learned ...] <eos>     each part encoded on its own, as a request's
//         prompt will be; nothing before it, as the daemon puts nothing there
// An answer in the middle of a chat is followed by the next message, not by <eos>; that it ends
// is learned all the same: the token behind it has the lesson "end".
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "model/threads.h"
#include "model/tokenizer/tokenizer.h"
#include "train/data/document.h"

namespace tristill::train {

// What the token before this one learns to predict.
enum class Lesson : uint8_t {
  none,   // nothing: this one is given
  token,  // this one
  end,    // <eos>, although this one follows
};

struct EncodedDocument {
  std::vector<TokenId> tokens;
  std::vector<Lesson> lessons;  // one a token; empty: all are Lesson::token
};

EncodedDocument encode_document(const Tokenizer& tokenizer, const Document& document);

// All of them in their order, on the team's threads: the same tokens on any number of threads.
// on_encoded is called on this thread, with bytes that are done since the last call.
std::vector<EncodedDocument> encode_documents(
    const Tokenizer& tokenizer, const std::vector<Document>& documents, ThreadTeam& team,
    const std::function<void(uint64_t bytes)>& on_encoded);

}  // namespace tristill::train
