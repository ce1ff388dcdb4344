// Tokenizer: text <-> token ids, and the bytes of each token. Built from the tokenizer section of
// a model file. Immutable after construction: any thread.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/tokenizer/control_pieces.h"

namespace tristill {

using TokenId = int32_t;
constexpr TokenId kNoToken = -1;

// Ids with a meaning of their own; kNoToken where the model has none.
struct SpecialTokens {
  TokenId bos = kNoToken;
  TokenId eos = kNoToken;  // end of document, ends a generation
  TokenId unk = kNoToken;
  TokenId fim_prefix = kNoToken;
  TokenId fim_suffix = kNoToken;
  TokenId fim_middle = kNoToken;
  TokenId file_sep = kNoToken;
  bool has_fim() const {
    return fim_prefix != kNoToken && fim_suffix != kNoToken && fim_middle != kNoToken;
  }
};

class Tokenizer {
 public:
  // From a serialized SentencePiece model. The protobuf is checked by our own parser first:
  // libsentencepiece aborts on some malformed ones. Errors: corrupt, param "tokenizer".
  static Result<std::shared_ptr<const Tokenizer>> from_sentencepiece(std::string_view model);

  virtual ~Tokenizer() = default;

  // Plain text only: the spelling of a special token in text is encoded as ordinary text.
  // No BOS is added. decode(encode(text)) == text for every byte sequence (byte fallback).
  virtual std::vector<TokenId> encode(std::string_view text) const = 0;

  // The bytes a token stands for; empty for control tokens. Not necessarily valid UTF-8 alone.
  virtual std::string_view bytes_of(TokenId id) const = 0;
  // The piece as it is named in the vocabulary, for display ("<fim_prefix>", "▁def").
  virtual std::string_view piece_of(TokenId id) const = 0;

  virtual size_t vocab_size() const = 0;
  virtual const SpecialTokens& special() const = 0;
  // The spellings of control tokens. Pieces of the type "user defined" are none: they are text, and
  // encode() gives their ids for it.
  virtual const ControlPieces& control_pieces() const = 0;
  // The serialized SentencePiece model this was built from.
  virtual std::string_view serialized() const = 0;
  // sha256 of serialized(), hex: what a trace names as its tokenizer.
  virtual const std::string& fingerprint() const = 0;

  std::string decode(std::span<const TokenId> ids) const {
    std::string text;
    for (const TokenId id : ids) text += bytes_of(id);
    return text;
  }
};

// Piece names of the special tokens in every tokenizer that we train.
inline constexpr std::string_view kFimPrefixPiece = "<fim_prefix>";
inline constexpr std::string_view kFimSuffixPiece = "<fim_suffix>";
inline constexpr std::string_view kFimMiddlePiece = "<fim_middle>";
inline constexpr std::string_view kFileSepPiece = "<file_sep>";

}  // namespace tristill
