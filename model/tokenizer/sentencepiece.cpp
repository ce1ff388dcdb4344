#include <sentencepiece_processor.h>

#include <array>
#include <charconv>

#include "base/check.h"
#include "base/sha256.h"
#include "base/utf8.h"
#include "model/tokenizer/sentencepiece_proto.h"
#include "model/tokenizer/tokenizer.h"

namespace tristill {
namespace {

constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581, how pieces spell a space

std::string with_spaces(std::string_view piece) {
  std::string out;
  for (size_t at = 0; at < piece.size();) {
    if (piece.substr(at).starts_with(kSpace)) {
      out += ' ';
      at += kSpace.size();
    } else {
      out += piece[at++];
    }
  }
  return out;
}

class SentencePieceTokenizer final : public Tokenizer {
 public:
  Result<void> load(std::string_view model) {
    serialized_ = model;
    const auto status = processor_.LoadFromSerializedProto(serialized_);
    if (!status.ok()) {
      return Error{ErrorCode::corrupt, "tokenizer: " + status.ToString(), "tokenizer"};
    }
    fingerprint_ = to_hex(sha256(model));
    byte_ids_.fill(kNoToken);
    std::vector<ControlPieces::Piece> controls;
    for (int id = 0; id < processor_.GetPieceSize(); ++id) {
      add_piece(id);
      if (processor_.IsControl(id)) controls.push_back({pieces_.back(), id});
    }
    control_pieces_ = ControlPieces(std::move(controls));
    special_.bos = processor_.bos_id();
    special_.eos = processor_.eos_id();
    special_.unk = processor_.unk_id();
    special_.fim_prefix = control(kFimPrefixPiece);
    special_.fim_suffix = control(kFimSuffixPiece);
    special_.fim_middle = control(kFimMiddlePiece);
    special_.file_sep = control(kFileSepPiece);
    return {};
  }

  // SentencePiece would read a literal U+2581 as a space, stops at NUL and mends invalid UTF-8:
  // those bytes go through the byte pieces, so that every text comes back as it was.
  std::vector<TokenId> encode(std::string_view text) const override {
    std::vector<TokenId> ids;
    while (!text.empty()) {
      const size_t plain = plain_prefix(text);
      append_plain(text.substr(0, plain), ids);
      text.remove_prefix(plain);
      if (text.empty()) break;
      const size_t odd = text.starts_with(kSpace) ? kSpace.size() : 1;
      for (size_t i = 0; i < odd; ++i) ids.push_back(byte_id(text[i]));
      text.remove_prefix(odd);
    }
    return ids;
  }

  std::string_view bytes_of(TokenId id) const override {
    return is_piece(id) ? std::string_view(bytes_[static_cast<size_t>(id)]) : std::string_view();
  }
  std::string_view piece_of(TokenId id) const override {
    return is_piece(id) ? std::string_view(pieces_[static_cast<size_t>(id)]) : std::string_view();
  }
  size_t vocab_size() const override { return pieces_.size(); }
  const SpecialTokens& special() const override { return special_; }
  const ControlPieces& control_pieces() const override { return control_pieces_; }
  std::string_view serialized() const override { return serialized_; }
  const std::string& fingerprint() const override { return fingerprint_; }

 private:
  // A vocabulary may be padded: ids beyond the pieces stand for nothing.
  bool is_piece(TokenId id) const { return id >= 0 && static_cast<size_t>(id) < pieces_.size(); }

  void add_piece(int id) {
    pieces_.push_back(processor_.IdToPiece(id));
    const std::string& piece = pieces_.back();
    if (processor_.IsControl(id) || processor_.IsUnknown(id)) {
      bytes_.emplace_back();
    } else if (processor_.IsByte(id)) {
      unsigned byte = 0;
      std::from_chars(piece.data() + 3, piece.data() + 5, byte, 16);
      bytes_.emplace_back(1, static_cast<char>(byte));
      byte_ids_[byte] = id;
    } else {
      bytes_.push_back(with_spaces(piece));
    }
  }

  TokenId control(std::string_view piece) const {
    const int id = processor_.PieceToId(absl::string_view(piece.data(), piece.size()));
    return id != processor_.unk_id() && processor_.IsControl(id) ? id : kNoToken;
  }

  TokenId byte_id(char c) const {
    const TokenId id = byte_ids_[static_cast<unsigned char>(c)];
    return id != kNoToken ? id : special_.unk;
  }

  // The longest prefix that SentencePiece gives back as it is.
  static size_t plain_prefix(std::string_view text) {
    size_t at = 0;
    while (at < text.size()) {
      const auto byte = static_cast<unsigned char>(text[at]);
      if (byte == 0) return at;
      if (byte < 0x80) {
        ++at;
        continue;
      }
      const size_t length = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : 2;
      const std::string_view character = text.substr(at, length);
      if (character == kSpace || character.size() < length || !utf8_is_valid(character)) return at;
      at += length;
    }
    return at;
  }

  void append_plain(std::string_view text, std::vector<TokenId>& ids) const {
    if (text.empty()) return;
    std::vector<int> found;
    const auto status = processor_.Encode(absl::string_view(text.data(), text.size()), &found);
    CHECK(status.ok());
    ids.insert(ids.end(), found.begin(), found.end());
  }

  sentencepiece::SentencePieceProcessor processor_;
  std::string serialized_;
  std::string fingerprint_;
  SpecialTokens special_;
  ControlPieces control_pieces_;
  std::vector<std::string> pieces_, bytes_;
  std::array<TokenId, 256> byte_ids_{};
};

}  // namespace

Result<std::shared_ptr<const Tokenizer>> Tokenizer::from_sentencepiece(std::string_view model) {
  if (auto ok = check_sentencepiece_model(model); !ok) return ok.error();
  auto tokenizer = std::make_shared<SentencePieceTokenizer>();
  if (auto loaded = tokenizer->load(model); !loaded) return loaded.error();
  return std::shared_ptr<const Tokenizer>(std::move(tokenizer));
}

}  // namespace tristill
