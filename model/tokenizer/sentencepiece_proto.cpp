#include "model/tokenizer/sentencepiece_proto.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <optional>
#include <unordered_set>

#include "base/utf8.h"

namespace tristill {
namespace {

constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581, how pieces spell a space
constexpr size_t kMaxPieces = 1 << 21;
constexpr size_t kMaxPieceBytes = 1 << 12;
constexpr size_t kMaxModelBytes = 1 << 28;

Error corrupt(std::string message) {
  return {ErrorCode::corrupt, "tokenizer: " + std::move(message), "tokenizer"};
}

// One field of a protobuf message.
struct ProtoField {
  uint32_t number = 0;
  uint32_t wire_type = 0;
  uint64_t value = 0;         // varint, fixed32, fixed64
  std::string_view bytes;     // length-delimited
};

class ProtoReader {
 public:
  explicit ProtoReader(std::string_view bytes) : rest_(bytes) {}
  bool done() const { return rest_.empty(); }

  std::optional<ProtoField> next() {
    const auto tag = varint();
    if (!tag || *tag >> 3 == 0 || *tag >> 3 > 0x1FFFFFFF) return std::nullopt;
    ProtoField field{static_cast<uint32_t>(*tag >> 3), static_cast<uint32_t>(*tag & 7), 0, {}};
    switch (field.wire_type) {
      case 0: {
        const auto value = varint();
        if (!value) return std::nullopt;
        field.value = *value;
        return field;
      }
      case 1: return fixed(field, 8);
      case 5: return fixed(field, 4);
      case 2: {
        const auto length = varint();
        if (!length || *length > rest_.size()) return std::nullopt;
        field.bytes = rest_.substr(0, *length);
        rest_.remove_prefix(*length);
        return field;
      }
      default: return std::nullopt;
    }
  }

 private:
  std::optional<uint64_t> varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<uint8_t>(rest_.front());
      rest_.remove_prefix(1);
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if ((byte & 0x80) == 0) return value;
    }
    return std::nullopt;
  }
  std::optional<ProtoField> fixed(ProtoField field, size_t size) {
    if (rest_.size() < size) return std::nullopt;
    std::memcpy(&field.value, rest_.data(), size);
    rest_.remove_prefix(size);
    return field;
  }
  std::string_view rest_;
};

enum PieceType : uint64_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

struct Piece {
  std::string_view text;
  uint64_t type = kNormal;
};

bool is_byte_piece(std::string_view text) {
  const auto is_digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F'); };
  return text.size() == 6 && text.starts_with("<0x") && is_digit(text[3]) && is_digit(text[4]) &&
         text[5] == '>';
}

Result<Piece> read_piece(std::string_view bytes) {
  Piece piece;
  ProtoReader in(bytes);
  while (!in.done()) {
    const auto field = in.next();
    if (!field) return corrupt("a piece is cut off");
    if (field->number == 1 && field->wire_type == 2) piece.text = field->bytes;
    else if (field->number == 3 && field->wire_type == 0) piece.type = field->value;
    else if (field->number == 2 && field->wire_type == 5) {
      float score = 0;
      std::memcpy(&score, &field->value, sizeof score);
      if (!std::isfinite(score)) return corrupt("a piece's score is not finite");
    } else if (field->number <= 3) {
      return corrupt("a piece has a field of the wrong type");
    }
  }
  if (piece.text.empty() || piece.text.size() > kMaxPieceBytes)
    return corrupt("a piece is empty or too long");
  // The library hands pieces on as C strings.
  if (!utf8_is_valid(piece.text) || piece.text.find('\0') != std::string_view::npos)
    return corrupt("a piece is not UTF-8 without NUL");
  if (piece.type < kNormal || piece.type > kByte) return corrupt("a piece has an unknown type");
  if (piece.type == kControl && utf8_length(piece.text) < 2)
    return corrupt("a control piece is a single character, which text could spell");
  if (piece.type == kByte && !is_byte_piece(piece.text))
    return corrupt("a byte piece has a wrong name");
  return piece;
}

// Settings that decide what the library does with a text, with the defaults of the format.
struct Settings {
  uint64_t model_type = 1;
  uint64_t byte_fallback = 0;
  uint64_t space_is_suffix = 0;
  uint64_t add_dummy_prefix = 1;
  uint64_t remove_extra_spaces = 1;
  uint64_t escape_spaces = 1;
  bool rewrites = false;  // a compiled map of the normalizer or the denormalizer
};

constexpr uint32_t kTrainer = 2, kNormalizer = 3, kDenormalizer = 5;  // fields of the model

Result<void> read_settings(std::string_view bytes, uint32_t message, Settings& settings) {
  struct Known {
    uint32_t message, number;
    uint64_t Settings::* member;
  };
  constexpr Known kKnown[] = {{kTrainer, 3, &Settings::model_type},
                              {kTrainer, 24, &Settings::space_is_suffix},
                              {kTrainer, 35, &Settings::byte_fallback},
                              {kNormalizer, 3, &Settings::add_dummy_prefix},
                              {kNormalizer, 4, &Settings::remove_extra_spaces},
                              {kNormalizer, 5, &Settings::escape_spaces}};
  ProtoReader in(bytes);
  while (!in.done()) {
    const auto field = in.next();
    if (!field) return corrupt("its settings are cut off");
    if (message != kTrainer && field->number == 2 && !field->bytes.empty())
      settings.rewrites = true;
    for (const Known& known : kKnown) {
      if (known.message != message || known.number != field->number) continue;
      if (field->wire_type != 0) return corrupt("a setting has the wrong type");
      settings.*known.member = field->value;
    }
  }
  return {};
}

// Only settings under which every text comes back as it was.
Result<void> check_settings(const Settings& settings) {
  if (settings.model_type != 1 && settings.model_type != 2) {
    return corrupt("model type " + std::to_string(settings.model_type) +
                   "; accepted are 1 (unigram), 2 (BPE)");
  }
  if (settings.rewrites) {
    return corrupt("it rewrites text (a normalisation map); accepted is identity");
  }
  if (settings.add_dummy_prefix != 0 || settings.remove_extra_spaces != 0 ||
      settings.escape_spaces != 1 || settings.space_is_suffix != 0) {
    return corrupt(
        "it adds or removes spaces; accepted are add_dummy_prefix, remove_extra_whitespaces and "
        "treat_whitespace_as_suffix false, escape_whitespaces true");
  }
  if (settings.byte_fallback != 1) return corrupt("byte_fallback is false; accepted is true");
  return {};
}

}  // namespace

Result<void> check_sentencepiece_model(std::string_view model) {
  if (model.empty() || model.size() > kMaxModelBytes) return corrupt("it is empty or too large");
  ProtoReader in(model);
  Settings settings;
  std::unordered_set<std::string_view> seen;
  size_t unknown = 0;
  size_t bytes = 0;
  bool space = false;
  while (!in.done()) {
    const auto field = in.next();
    if (!field) return corrupt("the SentencePiece model is cut off or malformed");
    if (field->number <= kDenormalizer && field->wire_type != 2) {
      return corrupt("a field has the wrong type");
    }
    if (field->number == kTrainer || field->number == kNormalizer ||
        field->number == kDenormalizer) {
      if (auto ok = read_settings(field->bytes, field->number, settings); !ok) return ok;
    }
    if (field->number != 1) continue;
    const auto piece = read_piece(field->bytes);
    if (!piece) return piece.error();
    if (!seen.insert(piece->text).second)
      return corrupt("piece " + std::string(piece->text) + " stands twice");
    if (seen.size() > kMaxPieces) return corrupt("it has too many pieces");
    unknown += piece->type == kUnknown ? 1 : 0;
    bytes += piece->type == kByte ? 1 : 0;
    space |= piece->text == kSpace && (piece->type == kNormal || piece->type == kUserDefined);
  }
  if (unknown != 1) return corrupt("it has no vocabulary, or not one unknown piece");
  if (bytes != 256) return corrupt("it has not all 256 byte pieces");
  if (!space) return corrupt("it has no piece of a single space (U+2581)");
  return check_settings(settings);
}

}  // namespace tristill
