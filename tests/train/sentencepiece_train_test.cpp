#include "train/data/sentencepiece_train.h"

#include <gtest/gtest.h>

#include "base/random.h"
#include "model/tokenizer/tokenizer.h"

namespace tristill::train {
namespace {

constexpr uint64_t kSeed = 31;

// Functions as Python has them, of words drawn from a seed.
std::string source_code(uint64_t stream, int n_functions) {
  constexpr std::string_view kWords[] = {"value", "self", "index", "result", "name", "count",
                                         "items", "path", "data",  "key",    "node", "line"};
  RandomStream random(kSeed, stream);
  const auto word = [&] {
    std::string name(kWords[random.below(std::size(kWords))]);
    for (uint64_t n = random.below(3); n > 0; --n) {
      name += static_cast<char>('a' + random.below(26));
    }
    return name;
  };
  std::string text;
  for (int i = 0; i < n_functions; ++i) {
    text += "def " + word() + "_" + word() + "(self, " + word() + "):\n";
    text += "    if " + word() + " is not None:\n        return self." + word() + "[" +
            std::to_string(random.below(100000)) + "]\n";
    text += "    for " + word() + " in " + word() + ":\n        " + word() + " += " + word() + "\n";
    text += "    return " + word() + "\n\n\n";
  }
  return text;
}

Result<std::string> trained(const std::vector<std::string>& texts, uint32_t vocab_size) {
  return train_sentencepiece({texts.begin(), texts.end()}, vocab_size, "/tmp");
}

std::shared_ptr<const Tokenizer> tokenizer_of(const std::vector<std::string>& texts,
                                              uint32_t vocab_size) {
  const auto model = trained(texts, vocab_size);
  EXPECT_TRUE(model) << model.error().message;
  auto tokenizer = Tokenizer::from_sentencepiece(*model);
  EXPECT_TRUE(tokenizer) << tokenizer.error().message;
  return *tokenizer;
}

TEST(TrainSentencePiece, SameTextsGiveTheSameModelOfTheSizeAskedFor) {
  const std::vector<std::string> texts = {source_code(1, 100), source_code(2, 100)};
  const auto model = trained(texts, 512);
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(*model, *trained(texts, 512));
  EXPECT_EQ((*Tokenizer::from_sentencepiece(*model))->vocab_size(), 512U);
}

TEST(TrainSentencePiece, EveryTextComesBackAlsoWithCharactersNeverSeen) {
  const auto tokenizer = tokenizer_of({source_code(1, 100)}, 512);
  for (const std::string& text :
       {source_code(3, 20), std::string("\t\r\n  caf\xC3\xA9 \xE2\x96\x81 \xF0\x9F\x98\x80\n"),
        std::string("\0\xFF </s>", 7), std::string(5000, ' '), std::string(300, '\n')}) {
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
  }
}

TEST(TrainSentencePiece, LineBreaksAndIndentationBecomePieces) {
  const auto tokenizer = tokenizer_of({source_code(1, 200)}, 600);
  bool line_break = false;
  bool indentation = false;
  for (TokenId id = 0; id < static_cast<TokenId>(tokenizer->vocab_size()); ++id) {
    const std::string_view bytes = tokenizer->bytes_of(id);
    line_break |= bytes.size() > 1 && bytes.ends_with('\n');
    indentation |= bytes.starts_with("    ");
  }
  EXPECT_TRUE(line_break);
  EXPECT_TRUE(indentation);
  const std::string unseen = source_code(4, 50);
  EXPECT_LT(tokenizer->encode(unseen).size() * 3, unseen.size());
}

TEST(TrainSentencePiece, DigitsStandApartAndControlsAreThere) {
  const auto tokenizer = tokenizer_of({source_code(1, 200)}, 600);
  EXPECT_EQ(tokenizer->encode("90210").size(), 5U);
  EXPECT_TRUE(tokenizer->special().has_fim());
  EXPECT_NE(tokenizer->special().eos, kNoToken);
  EXPECT_NE(tokenizer->special().file_sep, kNoToken);
  EXPECT_EQ(tokenizer->special().bos, kNoToken);
  const auto ids = tokenizer->encode("<fim_prefix></s>");
  EXPECT_GT(ids.size(), 2U);
}

TEST(TrainSentencePiece, RareCharactersAreLeftToTheBytes) {
  const std::string rare = "\xE4\xB8\x85";
  const std::string common = "\xE4\xB8\x86";
  std::string text = source_code(1, 400) + "# " + rare + "\n";
  for (int i = 0; i < 500; ++i) text += "# " + common + "\n";
  const auto tokenizer = tokenizer_of({text}, 512);
  EXPECT_EQ(tokenizer->encode(rare).size(), 3U);
  EXPECT_EQ(tokenizer->encode(common).size(), 1U);
}

TEST(TrainSentencePiece, AVocabularyThatDoesNotFitTheTextNamesTheOneThatWould) {
  const auto too_many = trained({"def f(x):\n    return x\n"}, 4096);
  ASSERT_FALSE(too_many);
  EXPECT_EQ(too_many.error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(too_many.error().param, "tokenizer.vocab_size");
  EXPECT_NE(too_many.error().message.find("at most"), std::string::npos)
      << too_many.error().message;
  const auto too_few = trained({source_code(1, 100)}, 270);
  ASSERT_FALSE(too_few);
  EXPECT_EQ(too_few.error().param, "tokenizer.vocab_size");
  EXPECT_NE(too_few.error().message.find("at least"), std::string::npos) << too_few.error().message;
  EXPECT_EQ(trained({"", ""}, 512).error().param, "data.corpora");
}

TEST(TrainSentencePiece, HostileTextsAreLearnedFromOrLeftOut) {
  std::string odd = source_code(5, 100);
  odd += std::string("\0\0\0", 3) + "\xFF\xFE\xE2\x96\x81\xE2\x96" + std::string(20000, 'x');
  const auto tokenizer = tokenizer_of({odd, source_code(6, 100)}, 400);
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(odd)), odd);
}

}  // namespace
}  // namespace tristill::train
