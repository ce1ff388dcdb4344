#include "train/convert/published_tokenizer.h"

#include <bit>
#include <cstdint>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/atomic_file.h"
#include "base/mapped_file.h"
#include "model/format/gguf.h"

namespace tristill::convert {
namespace {

constexpr const char* kParam = "tokenizer.from_weights";
constexpr uint64_t kUnknown = 2, kMostTypes = 6;  // of a piece, in GGUF as in SentencePiece

Error wrong(ErrorCode code, std::string message) { return {code, std::move(message), kParam}; }

// Writes protobuf (sentencepiece_model.proto): tags, varints, little-endian floats.
class ProtoWriter {
 public:
  void number(uint32_t field, uint64_t value) {
    varint(uint64_t{field} << 3U);
    varint(value);
  }
  void real(uint32_t field, float value) {
    varint(uint64_t{field} << 3U | 5U);
    const auto bits = std::bit_cast<uint32_t>(value);
    for (unsigned shift = 0; shift < 32; shift += 8) {
      out_ += static_cast<char>(bits >> shift & 0xFFU);
    }
  }
  void bytes(uint32_t field, std::string_view value) {
    varint(uint64_t{field} << 3U | 2U);
    varint(value.size());
    out_ += value;
  }
  std::string take() { return std::move(out_); }

 private:
  void varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7U) out_ += static_cast<char>((value & 0x7FU) | 0x80U);
    out_ += static_cast<char>(value);
  }
  std::string out_;
};

// Fields of ModelProto and of the messages in it.
enum Field : uint32_t { kPieces = 1, kTrainer = 2, kNormalizer = 3 };
enum PieceField : uint32_t { kText = 1, kScore = 2, kType = 3 };
enum TrainerField : uint32_t { kModelType = 3, kByteFallback = 35 };
enum NormalizerField : uint32_t { kName = 1, kDummyPrefix = 3, kExtraSpaces = 4, kEscape = 5 };
constexpr uint64_t kBpe = 2;

// Protobuf merges a message that comes again into the first: the later setting counts.
std::string without_dummy_prefix(std::string model) {
  ProtoWriter normalizer;
  normalizer.number(kDummyPrefix, 0);
  ProtoWriter again;
  again.bytes(kNormalizer, normalizer.take());
  return std::move(model) + again.take();
}

template <class T>
const std::vector<T>* array_of(const GgufFile& file, std::string_view key) {
  const auto found = file.metadata.find(key);
  if (found == file.metadata.end()) return nullptr;
  const auto* array = std::get_if<GgufArray>(&found->second);
  return array == nullptr ? nullptr : std::get_if<std::vector<T>>(array);
}

std::string piece(const std::string& text, double score, uint64_t type) {
  ProtoWriter out;
  out.bytes(kText, text);
  out.real(kScore, static_cast<float>(score));
  out.number(kType, type);
  return out.take();
}

Result<std::string> from_gguf(const std::filesystem::path& path) {
  const auto mapped = MappedFile::open(path);
  if (!mapped) return wrong(mapped.error().code, mapped.error().message);
  const auto file = read_gguf(mapped->bytes());
  if (!file) return wrong(file.error().code, file.error().message);
  const auto kind = file->text("tokenizer.ggml.model");
  if (!kind) return wrong(ErrorCode::invalid_argument, "the file carries no tokenizer");
  if (*kind != "llama") {
    return wrong(ErrorCode::invalid_argument,
                 "the file's tokenizer is of the kind \"" + *kind +
                     "\"; accepted is llama, a SentencePiece vocabulary");
  }
  const auto* texts = array_of<std::string>(*file, "tokenizer.ggml.tokens");
  const auto* scores = array_of<double>(*file, "tokenizer.ggml.scores");
  const auto* types = array_of<int64_t>(*file, "tokenizer.ggml.token_type");
  if (texts == nullptr || scores == nullptr || types == nullptr ||
      scores->size() != texts->size() || types->size() != texts->size()) {
    return wrong(ErrorCode::corrupt,
                 "tokenizer.ggml.tokens, .scores and .token_type are not as many");
  }
  ProtoWriter model;
  for (size_t i = 0; i < texts->size(); ++i) {
    const auto type = static_cast<uint64_t>((*types)[i]);
    if (type == 0 || type > kMostTypes) {
      return wrong(ErrorCode::corrupt, "token " + std::to_string(i) + " has an unknown type");
    }
    model.bytes(kPieces, piece((*texts)[i], type == kUnknown ? 0 : (*scores)[i], type));
  }
  ProtoWriter trainer;
  trainer.number(kModelType, kBpe);
  trainer.number(kByteFallback, 1);
  model.bytes(kTrainer, trainer.take());
  ProtoWriter normalizer;
  normalizer.bytes(kName, "identity");
  normalizer.number(kDummyPrefix, 0);
  normalizer.number(kExtraSpaces, 0);
  normalizer.number(kEscape, 1);
  model.bytes(kNormalizer, normalizer.take());
  return model.take();
}

}  // namespace

Result<std::string> read_published_tokenizer(const std::filesystem::path& path) {
  if (path.extension() == ".gguf") return from_gguf(path);
  auto model = read_file(path);
  if (!model) return wrong(model.error().code, model.error().message);
  return without_dummy_prefix(std::move(*model));
}

}  // namespace tristill::convert
