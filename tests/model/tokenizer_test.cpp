#include <gtest/gtest.h>

#include "base/random.h"
#include "model/tokenizer/fim.h"
#include "model/tokenizer/sentencepiece_proto.h"
#include "tests/support/test_model.h"

namespace tristill {
namespace {

TEST(Tokenizer, EveryByteStringComesBack) {
  const auto tokenizer = test::tiny_tokenizer();
  for (const std::string& text :
       {std::string("def f(self):\n    return 1\n"), std::string(""), std::string("  "),
        std::string("\n\n\t"), std::string("caf\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80"),
        std::string("a\xE2\x96\x81"
                    "b \xE2\x96\x81"),
        std::string("nul\0byte", 8), std::string("\xFF\xFE\xC3"),
        std::string("<fim_prefix></s><unk>")}) {
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
  }
  RandomStream random(1, 0);
  for (int i = 0; i < 300; ++i) {
    std::string text;
    for (uint64_t n = random.below(40); n > 0; --n) text += static_cast<char>(random.below(256));
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
  }
}

TEST(Tokenizer, TextNeverBecomesASpecialToken) {
  const auto tokenizer = test::tiny_tokenizer();
  const SpecialTokens& special = tokenizer->special();
  ASSERT_TRUE(special.has_fim());
  for (const TokenId id : tokenizer->encode("<fim_prefix>x<fim_suffix></s><file_sep>")) {
    EXPECT_NE(id, special.fim_prefix);
    EXPECT_NE(id, special.fim_suffix);
    EXPECT_NE(id, special.eos);
    EXPECT_NE(id, special.file_sep);
  }
}

TEST(Tokenizer, ControlPiecesAreThoseThatTextCannotSpell) {
  const auto tokenizer = test::tiny_tokenizer();
  const ControlPieces& pieces = tokenizer->control_pieces();
  EXPECT_EQ(pieces.all().size(), 5U);  // the end of a document and four of files and holes
  for (const auto& [spelling, id] : pieces.all()) {
    EXPECT_EQ(tokenizer->piece_of(id), spelling);
    EXPECT_TRUE(tokenizer->bytes_of(id).empty());
    EXPECT_EQ(pieces.longest_at(spelling + "x")->id, id);
  }
  EXPECT_FALSE(pieces.longest_at("<unk>"));
}

TEST(Tokenizer, MergesAreUsed) {
  const auto tokenizer = test::tiny_tokenizer();
  EXPECT_EQ(tokenizer->encode("return").size(), 1U);
  EXPECT_EQ(tokenizer->encode("    ").size(), 1U);
}

TEST(Tokenizer, FimPromptIsPrefixSuffixMiddle) {
  const auto tokenizer = test::tiny_tokenizer();
  const auto ids = fim_prompt(*tokenizer, "de", "et");
  ASSERT_TRUE(ids);
  const SpecialTokens& special = tokenizer->special();
  EXPECT_EQ(ids->front(), special.fim_prefix);
  EXPECT_EQ(ids->back(), special.fim_middle);
  EXPECT_EQ(tokenizer->decode(*ids), "deet");
}

TEST(SentencePieceModel, DamageIsRefusedBeforeTheLibrarySeesIt) {
  const std::string good(test::tiny_tokenizer()->serialized());
  ASSERT_TRUE(check_sentencepiece_model(good));
  EXPECT_FALSE(check_sentencepiece_model(""));
  EXPECT_FALSE(check_sentencepiece_model("hello"));
  for (size_t n = 1; n < good.size(); n += 7) {
    const auto loaded = Tokenizer::from_sentencepiece(good.substr(0, n));
    EXPECT_TRUE(loaded || loaded.error().param == "tokenizer");
  }
  RandomStream random(2, 0);
  int refused = 0;
  for (int i = 0; i < 2000; ++i) {
    std::string damaged = good;
    damaged[random.below(damaged.size())] = static_cast<char>(random.below(256));
    refused += Tokenizer::from_sentencepiece(damaged) ? 0 : 1;
  }
  EXPECT_GT(refused, 200);
}

// ---- models of other trainers, made by changing ours

void put_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

std::string message(int number, const std::string& bytes) {
  std::string out;
  put_varint(out, static_cast<uint64_t>(number) << 3 | 2);
  put_varint(out, bytes.size());
  return out + bytes;
}

std::string setting(int number, uint64_t value) {
  std::string out;
  put_varint(out, static_cast<uint64_t>(number) << 3);
  put_varint(out, value);
  return out;
}

std::string piece(const std::string& text, uint64_t type) {
  return message(1, message(1, text) + setting(3, type));
}

// Repeated settings are merged, the last one counts: what is appended overrides.
std::string tiny_with(const std::string& appended) {
  return std::string(test::tiny_tokenizer()->serialized()) + appended;
}

std::string refusal(const std::string& model) {
  const auto loaded = Tokenizer::from_sentencepiece(model);
  return loaded ? "" : loaded.error().message;
}

TEST(SentencePieceModel, SettingsThatChangeTextAreRefused) {
  EXPECT_EQ(refusal(tiny_with("")), "");
  constexpr int kTrainer = 2, kNormalizer = 3, kDenormalizer = 5;
  const std::string spaces[] = {
      message(kNormalizer, setting(3, 1)), message(kNormalizer, setting(4, 1)),
      message(kNormalizer, setting(5, 0)), message(kTrainer, setting(24, 1))};
  for (const std::string& appended : spaces) {
    EXPECT_NE(refusal(tiny_with(appended)).find("adds or removes spaces"), std::string::npos);
  }
  for (const int number : {kNormalizer, kDenormalizer}) {
    EXPECT_NE(refusal(tiny_with(message(number, message(2, "map")))).find("rewrites text"),
              std::string::npos);
  }
  EXPECT_NE(refusal(tiny_with(message(kTrainer, setting(35, 0)))).find("byte_fallback"),
            std::string::npos);
  for (const uint64_t type : {0, 3, 4, 99}) {
    EXPECT_NE(refusal(tiny_with(message(kTrainer, setting(3, type)))).find("model type"),
              std::string::npos);
  }
  EXPECT_EQ(refusal(tiny_with(message(kTrainer, setting(3, 1)))), "");  // unigram
}

TEST(SentencePieceModel, PiecesThatAbortTheLibraryOrHideInTextAreRefused) {
  constexpr uint64_t kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kByte = 6;
  const std::string bad[] = {
      piece("", kNormal),
      piece(std::string("a\0b", 3), kUserDefined),
      piece("\xff\xfe", kNormal),
      piece("return", kNormal),  // twice
      piece("<other unk>", kUnknown),
      piece("\xC3\xA9", kControl),
      piece("<0xzz>", kByte),
      piece("x y z", 0),
      piece("x y z", 7),
      message(1, message(1, "q1") + std::string("\x15\x00\x00\x80\x7f", 5)),  // score infinity
      std::string("\x0a\xff\xff\xff\xff\x0f", 6),
  };
  for (const std::string& appended : bad) {
    EXPECT_FALSE(refusal(tiny_with(appended)).empty()) << testing::PrintToString(appended);
  }
  EXPECT_EQ(refusal(tiny_with(piece("user defined", kUserDefined))), "");
}

// Without it, a space would come back as the bytes of U+2581.
TEST(SentencePieceModel, OneWithoutAPieceOfASpaceIsRefused) {
  std::string model = tiny_with("");
  const std::string space = message(1, "\xE2\x96\x81");
  const size_t at = model.find(space);
  ASSERT_NE(at, std::string::npos);
  model.replace(at, space.size(), message(1, "xyz"));
  EXPECT_NE(refusal(model).find("single space"), std::string::npos) << refusal(model);
}

TEST(SentencePieceModel, EveryTextComesBackFromUnigramAndUserDefinedPieces) {
  const auto tokenizer = Tokenizer::from_sentencepiece(tiny_with(
      message(2, setting(3, 1)) + piece("a b", 4) + piece("\n\xE2\x96\x81\xE2\x96\x81", 4)));
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  for (const std::string& text : {std::string("a b  a b"), std::string("x:\n    return a b\n"),
                                  std::string(" "), std::string("\xE2\x96\x81 a b")}) {
    EXPECT_EQ((*tokenizer)->decode((*tokenizer)->encode(text)), text);
  }
}

}  // namespace
}  // namespace tristill
