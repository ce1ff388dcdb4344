#include "train/data/sentencepiece_train.h"

#include <sentencepiece_trainer.h>

#include <algorithm>

#include "model/tokenizer/tokenizer.h"

namespace tristill::train {
namespace {

constexpr size_t kChunkBytes = 2000;

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

}  // namespace

Result<std::string> train_sentencepiece(const std::vector<std::string_view>& texts,
                                        uint32_t vocab_size, const std::filesystem::path&) {
  const auto chunks = chunks_of(texts);
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
                                                  {"character_coverage", "1.0"},
                                                  {"input_sentence_size", "0"},
                                                  {"max_sentence_length", "8192"},
                                                  {"num_threads", "2"},
                                                  {"minloglevel", "1"}},
                                                 &iterator, &model);
  if (status.ok()) return model;
  return Error{ErrorCode::invalid_argument,
               "cannot train a tokenizer of " + std::to_string(vocab_size) +
                   " pieces on this text: " + status.ToString(),
               "tokenizer.vocab_size"};
}

}  // namespace tristill::train
