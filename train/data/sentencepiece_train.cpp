#include "train/data/sentencepiece_train.h"

#include <sentencepiece_trainer.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "model/tokenizer/tokenizer.h"

namespace tristill::train {
namespace {

constexpr size_t kChunkBytes = 2000;
constexpr size_t kMaxTrainingBytes = size_t{64} << 20;
// Rare characters are left to the byte pieces: with all, small vocabularies fill with single
// characters (of 1024 pieces on Python's library 126, and 4% more tokens) or cannot be trained.
constexpr const char* kCharacterCoverage = "0.9999";

// Pieces of texts of several lines each, so that line breaks and indentation can be learned;
// whole texts would be longer than the trainer takes.
std::vector<std::string> chunks_of(const std::vector<std::string_view>& texts) {
  std::vector<std::string> chunks;
  for (std::string_view text : texts) {
    while (!text.empty()) {
      size_t end = std::min(kChunkBytes, text.size());
      if (end < text.size()) {
        const size_t line_end = text.rfind('\n', end);
        if (line_end != std::string_view::npos && line_end > 0) end = line_end + 1;
        while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) ++end;
      }
      chunks.emplace_back(text.substr(0, end));
      text.remove_prefix(end);
    }
  }
  return chunks;
}

// Every n-th chunk, so that about max_bytes are left: more text changes the pieces little and the
// trainer holds all of it several times over.
std::vector<std::string> spread(std::vector<std::string> chunks, size_t max_bytes) {
  size_t total = 0;
  for (const std::string& chunk : chunks) total += chunk.size();
  const size_t n = total / max_bytes + 1;
  if (n == 1) return chunks;
  std::vector<std::string> kept;
  for (size_t i = 0; i < chunks.size(); i += n) kept.push_back(std::move(chunks[i]));
  return kept;
}

class Chunks final : public sentencepiece::SentenceIterator {
 public:
  explicit Chunks(const std::vector<std::string>& chunks) : chunks_(chunks) {}
  bool done() const override { return at_ >= chunks_.size(); }
  void Next() override { ++at_; }
  const std::string& value() const override { return chunks_[at_]; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  const std::vector<std::string>& chunks_;
  size_t at_ = 0;
};

// The number after marker in text; nothing when it is not there.
std::optional<uint64_t> number_after(std::string_view text, std::string_view marker) {
  const size_t at = text.find(marker);
  if (at == std::string_view::npos) return std::nullopt;
  uint64_t number = 0;
  const char* from = text.data() + at + marker.size();
  const auto [end, error] = std::from_chars(from, text.data() + text.size(), number);
  return error == std::errc() ? std::optional(number) : std::nullopt;
}

// In the words of a job's fields where the library's reason is known, else in its own.
Error refusal(uint32_t vocab_size, const std::string& reason) {
  std::string message = "tokenizer.vocab_size is " + std::to_string(vocab_size) + "; ";
  if (const auto least = number_after(reason, "vs ")) {
    message += "this text has so many different characters that at least " +
               std::to_string(*least) + " are needed";
  } else if (const auto most = number_after(reason, "value <= ")) {
    message += "this text is so small that at most " + std::to_string(*most) + " can be made of it";
  } else {
    message += "no tokenizer could be trained: " + reason;
  }
  return {ErrorCode::invalid_argument, message, "tokenizer.vocab_size"};
}

}  // namespace

Result<std::string> train_sentencepiece(const std::vector<std::string_view>& texts,
                                        uint32_t vocab_size, const std::filesystem::path&) {
  const auto chunks = spread(chunks_of(texts), kMaxTrainingBytes);
  if (chunks.empty()) {
    return Error{ErrorCode::invalid_argument, "there is no text to train a tokenizer on",
                 "data.corpora"};
  }
  Chunks iterator(chunks);
  const std::string control = std::string(kFimPrefixPiece) + "," + std::string(kFimSuffixPiece) +
                              "," + std::string(kFimMiddlePiece) + "," + std::string(kFileSepPiece);
  std::string model;
  const auto status =
      sentencepiece::SentencePieceTrainer::Train({{"model_type", "bpe"},
                                                  {"vocab_size", std::to_string(vocab_size)},
                                                  {"byte_fallback", "true"},
                                                  {"normalization_rule_name", "identity"},
                                                  {"add_dummy_prefix", "false"},
                                                  {"remove_extra_whitespaces", "false"},
                                                  {"split_digits", "true"},
                                                  {"allow_whitespace_only_pieces", "true"},
                                                  {"control_symbols", control},
                                                  {"bos_id", "-1"},
                                                  {"pad_id", "-1"},
                                                  {"unk_id", "0"},
                                                  {"eos_id", "1"},
                                                  {"character_coverage", kCharacterCoverage},
                                                  {"input_sentence_size", "0"},
                                                  {"max_sentence_length", "8192"},
                                                  {"num_threads", "2"},
                                                  {"minloglevel", "2"}},
                                                 &iterator, &model);
  if (status.ok()) return model;
  return refusal(vocab_size, status.ToString());
}

}  // namespace tristill::train
