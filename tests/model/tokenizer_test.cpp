#include <gtest/gtest.h>

#include "base/random.h"
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
    if (!loaded) EXPECT_EQ(loaded.error().param, "tokenizer");
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

}  // namespace
}  // namespace tristill
