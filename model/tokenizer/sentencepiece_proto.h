// A look at a serialized SentencePiece model before the library sees it: libsentencepiece aborts,
// and cannot be caught, on some malformed ones. Walks the protobuf (sentencepiece_model.proto)
// with every length checked. Pure.
#pragma once

#include <string_view>

#include "base/result.h"

namespace tristill {

// Errors: corrupt, param "tokenizer", naming what is wrong. Accepted: up to 2^21 pieces that are
// not empty and not repeated, of known types, exactly one of them unknown and all 256 bytes; BPE
// or unigram; settings under which every text comes back as it was (no normalisation, no added or
// removed spaces, byte fallback).
Result<void> check_sentencepiece_model(std::string_view model);

}  // namespace tristill
